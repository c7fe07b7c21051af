"""Studies that train many runs on one corpus to find good options, based on Optuna."""
