"""What computes gradients and scores: the interface, the engine on NumPy and the engine on PyTorch."""
