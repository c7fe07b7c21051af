"""The NumPy engine: worker processes with shared memory."""
