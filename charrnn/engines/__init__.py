"""Engines train networks and compute their outputs. base.py is the interface; there is one engine on NumPy and one on
PyTorch."""
