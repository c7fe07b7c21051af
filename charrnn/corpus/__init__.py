"""From files to arrays: reading, the vocabulary, numbers, windows and batches."""
