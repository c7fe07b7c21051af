"""Hyperparameter search with Optuna: a study trains many runs on one corpus to find good options."""
