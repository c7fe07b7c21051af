"""Networks built from the layers in `nn`. One flat vector holds all parameters of a network."""
