"""The dropout masks of a training step. All processes draw the same masks, so no mask has to be sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from charrnn.models.architecture import Architecture
from charrnn.nn.arrays import Array
from charrnn.nn.ops import dropout_mask
from charrnn.nn.stack import CELLS
from charrnn.options import ResolvedTraining
from charrnn.seeding import Purpose, generator_key

# key of the generator, shapes, rate, dtype -> masks, as arrays or tensors
DrawMasks = Callable[[tuple[int, ...], Sequence[tuple[int, ...]], float, str], list[Any]]


class StepMasks(NamedTuple):
    """The masks of one step."""

    outputs: Any | None  # (num_dropout_masks, B, W), of the layers' outputs; see models.network.split_dropout_masks
    recurrent: list[Any]  # (G, H) for each layer, of W_hh; empty without recurrent dropout


def draw_masks(key: tuple[int, ...], shapes: Sequence[tuple[int, ...]], rate: float, dtype: str) -> list[Array]:
    """Draws masks with NumPy, all from one generator with this key."""
    rng = np.random.default_rng(key)
    return [dropout_mask(rng, shape, rate, dtype) for shape in shapes]


def draw_step_masks(
    architecture: Architecture, train: ResolvedTraining, step: int, dtype: str, draw: DrawMasks = draw_masks
) -> StepMasks:
    """Draws the masks of a step. draw: the function that draws arrays or tensors (default: with NumPy).

    The masks of the outputs are the same at all time steps (variational dropout, Gal & Ghahramani 2016). The masks
    of W_hh implement DropConnect (Wan et al. 2013; Merity, Keskar & Socher 2018).
    """
    layers = architecture.num_layers
    hidden = architecture.hidden_size
    width = max(hidden, architecture.memory_width)
    outputs = None
    recurrent: list[Any] = []
    if train.dropout:
        key = generator_key(train.seed, Purpose.DROPOUT, step)
        (outputs,) = draw(key, [(architecture.num_dropout_masks, train.batch_size, width)], train.dropout, dtype)
    if train.recurrent_dropout:
        key = generator_key(train.seed, Purpose.RECURRENT_DROPOUT, step)
        shapes = [(CELLS[architecture.cell].num_gates * hidden, hidden)] * layers
        recurrent = draw(key, shapes, train.recurrent_dropout, dtype)
    return StepMasks(outputs, recurrent)
