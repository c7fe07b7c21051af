"""The engine on NumPy: worker processes with shared memory."""
