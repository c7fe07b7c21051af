"""A text as a language model reads it: what each character costs, and what each unit is busy with once it is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from charrnn.errors import UsageError
from charrnn.nn.arrays import Array
from charrnn.nn.parameters import flatten
from charrnn.nn.stack import CELLS
from charrnn.tasks.language.model import TextModel
from charrnn.tasks.language.scoring import reading_of

Unit = tuple[int, int]  # layer and unit in it, counted from 0 as in the parameters' names and arrays


class Reading:
    """A text of N characters. A character of several bytes is one here, also where the model reads bytes."""

    def __init__(self, model: TextModel, ids: Array) -> None:
        """ids: of the text, not empty."""
        self.model, self.ids = model, ids
        self.text, self.ends = model.vocabulary.characters(ids)
        self.names = CELLS[model.architecture.cell].quantity_names

    def nats(self) -> Array:
        """What each character costs (N,), given all before it."""
        sums: Array = np.add.reduceat(self.model.nats(self.ids), np.append(0, self.ends[:-1] + 1))
        return sums

    def known(self, name: str | None) -> str:
        """The name of a quantity: of the activity, if none is given. Raises UsageError for one that the cell lacks."""
        if name is not None and name not in self.names:
            what = f"{name}: the cell {self.model.architecture.cell} has no such quantity"
            raise UsageError(what, f"it has {', '.join(self.names)}")
        return name or self.names[0]

    def quantities(self, name: str | None = None) -> Iterator[tuple[Array, Array]]:
        """Piece by piece, in no certain order: which characters (n,), and a quantity of all units, layer by layer, once
        each of these has been read (n, L H).

        name: as in the cell's equations; by default the activity, tanh(c) of an LSTM, else h.
        """
        model, which = self.model, self.names.index(self.known(name))
        last = model.vocabulary.start  # is to be predicted, and is never read
        character = np.full(len(self.ids) + 1, -1)
        character[self.ends + 1] = np.arange(len(self.ends))
        flat = flatten(model.architecture.specs(), model.checkpoint.weights)
        ids, record_end = model.started(np.append(self.ids, last)), model.record_end()
        with threadpool_limits(1):
            reading, network, state = reading_of(model.architecture, flat, ids, record_end)
            for step in range(reading.steps):
                network.hidden(reading.batch(step), state)
                places = reading.places(step)
                characters = np.where(places < 0, -1, character[places])
                here = characters >= 0
                of_layers = [layer.quantities()[which][here] for layer in network.stack.layers]
                yield characters[here], np.concatenate(of_layers, axis=1)

    def of_units(self, units: Sequence[Unit], name: str | None = None) -> Array:
        """A quantity of some units (N, K). Raises UsageError also for a unit that is not there."""
        shape = self.model.architecture
        for layer, unit in units:
            if not (0 <= layer < shape.num_layers and 0 <= unit < shape.hidden_size):
                highest = f"{shape.num_layers - 1}.{shape.hidden_size - 1}"
                raise UsageError(f"unit {layer}.{unit}: not in this network", f"layer.unit, from 0.0 to {highest}")
        values = np.empty((len(self.text), len(units)), np.float32)
        columns = [layer * shape.hidden_size + unit for layer, unit in units]
        for characters, of_all in self.quantities(name):
            values[characters] = of_all[:, columns]
        return values
