"""Many to many, aligned: a tag for each character of a text."""
