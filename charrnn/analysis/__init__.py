"""Measurements of a trained network: gradient norms, unit probes, the loss of each character and copied passages."""
