"""The PyTorch engine: for GPUs, and for several processes under torchrun."""
