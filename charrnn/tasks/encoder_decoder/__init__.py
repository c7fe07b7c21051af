"""What tasks with an encoder and a decoder have in common: symbols, batches, beam search, evaluation."""
