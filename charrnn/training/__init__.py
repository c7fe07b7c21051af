"""One run: defaults that depend on the data, start and resume, the training loop, its budget and events; benchmarks."""
