"""What a trained network does, as numbers: gradient norms, unit probes, surprise, copied passages."""
