"""The engine on PyTorch: GPUs, and several processes under torchrun."""
