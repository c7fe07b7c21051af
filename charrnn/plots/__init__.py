"""Figures: loss curves, sweeps, gradient flow and unit values, with Matplotlib or as text for a terminal."""
