"""One to many: a line of text from a vector of numbers."""
