"""Many runs on one corpus: a study of trials, on Optuna."""
