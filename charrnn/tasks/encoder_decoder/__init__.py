"""The common part of tasks with an encoder and a decoder: symbols, batches, beam search and evaluation."""
