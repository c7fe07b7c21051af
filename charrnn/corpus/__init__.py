"""From files to numbers: reading, the vocabulary, the parts of a text, streams and batches."""
