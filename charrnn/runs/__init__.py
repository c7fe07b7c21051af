"""What lies on the disk: files that cannot be torn, checkpoints, run directories, graphs for other programs."""
