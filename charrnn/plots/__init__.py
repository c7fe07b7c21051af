"""Figures: loss curves, sweeps, gradient flow and unit values, with Matplotlib or as text for a terminal."""

import logging

# Matplotlib would report its font cache and its directories on stderr.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
