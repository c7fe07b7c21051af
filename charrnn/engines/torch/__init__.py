"""The engine on PyTorch: for GPUs, and for several processes under torchrun."""
