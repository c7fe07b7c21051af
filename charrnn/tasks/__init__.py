"""The tasks: one folder per task, with its data, its batches, its metrics and its trained model."""
