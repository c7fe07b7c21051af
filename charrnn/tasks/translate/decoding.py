"""Decoding: the targets that a language model over `source TAB target` goes on with, for many sources at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from charrnn.corpus.batch import Batch
from charrnn.models.network import Network, new_stepper
from charrnn.models.sampling import choose
from charrnn.nn.arrays import Array
from charrnn.nn.parameters import flatten
from charrnn.nn.stepper import Stepper
from charrnn.options import SamplingOptions
from charrnn.runs.checkpoint import Checkpoint

ROWS = 256  # hypotheses that are stepped together
Found = tuple[Array, float]  # a target's ids, without the end, and its log probability
T = TypeVar("T")


class Decoder:
    """A trained network that goes on from sources until the symbol `end`."""

    def __init__(self, checkpoint: Checkpoint, end: int) -> None:
        self.architecture, self.named, self.end = checkpoint.architecture, checkpoint.weights, end
        self.flat = flatten(self.architecture.specs(), self.named)

    def search(self, sources: Sequence[Array], *, beam: int, limit: int) -> list[list[Found]]:
        """Beam search: up to `beam` targets of each source, the likeliest first; beam 1 takes the likeliest symbol at
        each step. `limit`: symbols after which a target is broken off."""
        return _in_groups(
            sources, max(1, ROWS // beam), lambda group: self._search([sources[n] for n in group], beam, limit)
        )

    def draw(
        self, sources: Sequence[Array], config: SamplingOptions, uniforms: Sequence[Callable[[], float]], *, limit: int
    ) -> list[Found]:
        """A target of each source, drawn symbol by symbol with uniform numbers from a generator of its own."""

        def work(group: list[int]) -> list[Found]:
            return self._draw([sources[n] for n in group], config, [uniforms[n] for n in group], limit)

        return _in_groups(sources, ROWS, work)

    def _search(self, sources: list[Array], beam: int, limit: int) -> list[list[Found]]:
        number, symbols = len(sources), self.architecture.output_size
        state = self._read(sources)
        stepper, logits = self._stepper(np.repeat(state, beam, axis=2))
        scores = np.full((number, beam), -np.inf)
        scores[:, 0] = 0
        targets = np.zeros((number, beam, limit), np.uint32)
        ended: list[list[Found]] = [[] for _ in sources]
        live, lines = np.ones(number, bool), np.arange(number)[:, None]
        for length in range(limit):
            total = (scores[:, :, None] + _log_softmax(logits).reshape(number, beam, symbols)).reshape(number, -1)
            wide = min(2 * beam, total.shape[1])
            best = np.argpartition(-total, wide - 1, axis=1)[:, :wide]
            best = np.take_along_axis(best, np.argsort(-np.take_along_axis(total, best, axis=1), axis=1), axis=1)
            values = np.take_along_axis(total, best, axis=1)
            parents, ids = np.divmod(best, symbols)
            ends = ids == self.end
            for line, rank in zip(*np.nonzero(ends[:, :beam] & live[:, None]), strict=True):
                if np.isfinite(values[line, rank]):
                    target = targets[line, parents[line, rank], :length].copy()
                    ended[line].append((target, float(values[line, rank])))
            # The best that go on: those that ended stand behind all others.
            order = np.argsort(ends, axis=1, kind="stable")[:, :beam]
            parents, ids = np.take_along_axis(parents, order, axis=1), np.take_along_axis(ids, order, axis=1)
            scores = np.take_along_axis(np.where(ends, -np.inf, values), order, axis=1)
            for line in np.flatnonzero(live).tolist():
                ended[line].sort(key=lambda found: -found[1])
                # What goes on only becomes less likely: no hypothesis can overtake those that ended any more.
                live[line] = len(ended[line]) < beam or ended[line][beam - 1][1] < scores[line, 0]
            if not live.any():
                break
            targets = targets[lines, parents]
            targets[:, :, length] = ids
            stepper.rearrange((lines * beam + parents).ravel())
            logits = stepper.step(ids.ravel())
        for line in np.flatnonzero(live).tolist():  # broken off
            ended[line] += [
                (targets[line, n], float(scores[line, n])) for n in range(beam) if scores[line, n] > -np.inf
            ]
        return [found[:beam] for found in ended]

    def _draw(
        self, sources: list[Array], config: SamplingOptions, uniforms: list[Callable[[], float]], limit: int
    ) -> list[Found]:
        stepper, logits = self._stepper(self._read(sources))
        targets: list[list[int]] = [[] for _ in sources]
        nats, live = np.zeros(len(sources)), list(range(len(sources)))
        for _ in range(limit):
            chosen = np.full(len(sources), self.end)
            chosen[live], costs = choose(logits[live], config, np.array([uniforms[n]() for n in live]))
            nats[live] -= costs
            live = [n for n in live if chosen[n] != self.end]
            for n in live:
                targets[n].append(int(chosen[n]))
            if not live:
                break
            logits = stepper.step(chosen)
        return [(np.array(target, np.uint32), value) for target, value in zip(targets, nats.tolist(), strict=True)]

    def _read(self, sources: list[Array]) -> Array:
        """The states (L, num_states, N, H) at the ends of the sources, which all end at the same step."""
        steps = max(map(len, sources))
        x, keep = np.zeros((steps, len(sources)), np.uint32), np.ones((steps, len(sources), 1), bool)
        for n, source in enumerate(sources):
            x[steps - len(source) :, n] = source
            keep[steps - len(source), n] = False
        state = np.zeros(self.architecture.state_shape(len(sources)), self.flat.dtype)
        network = Network(self.architecture, self.flat, len(sources), steps)
        network.hidden(Batch(x, x, keep=keep), state)
        return state

    def _stepper(self, state: Array) -> tuple[Stepper, Array]:
        stepper = new_stepper(self.architecture, self.named, state.shape[2])
        return stepper, stepper.start(state)


def _in_groups(sources: Sequence[Array], size: int, work: Callable[[list[int]], list[T]]) -> list[T]:
    """Sources of like length together, groups side by side on the cores; the results in the sources' order."""
    order = sorted(range(len(sources)), key=lambda n: len(sources[n]))
    groups = [order[start : start + size] for start in range(0, len(order), size)]
    results: dict[int, T] = {}
    with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as threads:
        for group, found in zip(groups, threads.map(work, groups), strict=True):
            results.update(zip(group, found, strict=True))
    return [results[n] for n in range(len(sources))]


def _log_softmax(logits: Array) -> Array:
    shifted: Array = logits - logits.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted
