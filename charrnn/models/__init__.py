"""Models: each puts the pieces of `nn` together for a task."""
