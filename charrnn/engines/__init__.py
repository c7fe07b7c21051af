"""Engines train networks and compute their outputs. base.py is the interface of the NumPy and the PyTorch engine."""
