"""The engine on NumPy: worker processes over shared memory."""
