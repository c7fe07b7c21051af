"""Runs a language model on a text: the loss of each character, and the values of the units after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from charrnn.corpus.batch import Batch
from charrnn.engines.numpy.backend import NumpyBackend
from charrnn.errors import UsageError
from charrnn.models.network import Network, ScoringNetwork
from charrnn.nn.arrays import Array
from charrnn.nn.stack import CELLS
from charrnn.tasks.language.model import TextModel
from charrnn.tasks.language.scoring import TextScorer

Unit = tuple[int, int]  # layer, and unit in the layer; both are counted from 0


class TextReading:
    """A text of N characters and a language model that reads it.

    A character of several bytes counts as one character, even for a byte model. Its loss is the sum over its bytes. The
    values of the units are those after its last byte.
    """

    def __init__(self, model: TextModel, ids: Array) -> None:
        """ids: the ids of the text, at least one."""
        self.model = model
        self.ids = ids
        self.text, self.last_places = model.vocabulary.characters(ids)  # (N,), the place of each character's last id
        self.quantity_names = CELLS[model.architecture.cell].quantity_names

    def nats(self) -> Array:
        """The loss of each character (N,), given all characters before it."""
        first_places = np.append(0, self.last_places[:-1] + 1)
        nats: Array = np.add.reduceat(self.model.nats(self.ids), first_places)
        return nats

    def quantity_name(self, name: str | None) -> str:
        """Returns `name`, by default the name of the activity. Raises UsageError if the cell has no such quantity."""
        if name is not None and name not in self.quantity_names:
            problem = f"the cell {self.model.architecture.cell} has no quantity {name}"
            raise UsageError(problem, f"its quantities are {', '.join(self.quantity_names)}")
        return name or self.quantity_names[0]

    def quantities(self, name: str | None = None) -> Iterator[tuple[Array, Array]]:
        """Yields parts of the text, in any order: places of characters (n,), and a quantity of all units (n, L H).

        name: of a quantity in the equations of the cell, such as "h" or "f". By default the activity: tanh(c) of an
        LSTM, h of other cells.
        """
        architecture = self.model.architecture
        index = self.quantity_names.index(self.quantity_name(name))
        # Places count predictions. Prediction p is made after id p - 1 of the text has been read.
        character_at = np.full(len(self.ids) + 1, -1)
        character_at[self.last_places + 1] = np.arange(len(self.last_places))
        # The id that is appended is only a target. With it, the network also reads the last character of the text.
        ids = self.model.prepend_start(np.append(self.ids, self.model.vocabulary.start))
        # Only the NumPy engine keeps the quantities.
        scorer = TextScorer(NumpyBackend(), architecture, self.model.parameters, self.model.record_end())
        with threadpool_limits(1):
            for start in scorer.section_starts(ids):
                parts, states = scorer.read(ids[start : start + scorer.size + 1], _read_only)
                for network, batch, state, places in scorer.batches(parts, states):
                    assert isinstance(network, Network)
                    network.forward_hidden(batch, state)
                    characters = np.where(places < 0, -1, character_at[start + places])  # (T, B)
                    is_read = characters >= 0
                    by_layer = [layer.quantities()[index][is_read] for layer in network.stack.layers]
                    yield characters[is_read], np.concatenate(by_layer, axis=1)

    def unit_values(self, units: Sequence[Unit], name: str | None = None) -> Array:
        """A quantity of some units (N, len(units)). Raises UsageError for a unit or quantity that does not exist."""
        architecture = self.model.architecture
        for layer, unit in units:
            if not (0 <= layer < architecture.num_layers and 0 <= unit < architecture.hidden_size):
                last = f"{architecture.num_layers - 1}.{architecture.hidden_size - 1}"
                raise UsageError(
                    f"unit {layer}.{unit}: not in this network", f"give a unit as layer.unit, from 0.0 to {last}"
                )
        columns = [layer * architecture.hidden_size + unit for layer, unit in units]
        values = np.empty((len(self.text), len(units)), np.float32)
        for characters, part in self.quantities(name):
            values[characters] = part[:, columns]
        return values


def _read_only(network: ScoringNetwork, batch: Batch, state: Array, places: Array) -> None:
    assert isinstance(network, Network)
    network.forward_hidden(batch, state)
