"""Measurements of a trained network: gradient norms, unit probes, surprise and copied passages."""
