"""Networks: the pieces of `nn` put together, over one flat vector of parameters."""
