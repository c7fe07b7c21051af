"""Many to many, encoder and decoder: a target text for each source of vectors, for example speech."""
