"""A run from its start to its end: what is chosen, the loop, the workers and the memory they share, the benchmark."""
