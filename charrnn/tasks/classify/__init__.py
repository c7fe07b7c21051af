"""Many to one: a label for each text."""
