"""Units whose activity correlates with a probe."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from charrnn.analysis.probes import PROBES
from charrnn.analysis.reading import TextReading
from charrnn.nn.arrays import Array

ROUNDING = 1e-12  # a variance below this fraction of the mean square is the rounding error of a constant


@dataclass(frozen=True)
class UnitMatch:
    """A unit whose activity correlates with a probe. The correlation is measured on the second half of the text."""

    probe: str
    layer: int
    unit: int
    correlation: float


def find_units(reading: TextReading) -> list[UnitMatch]:
    """For each probe the unit with the largest correlation. The strongest matches come first.

    The unit is chosen on the first half of the text and its correlation is measured on the second half. The correlation
    of a unit that fits the first half by chance is then close to zero. Probes that are constant on one of the halves
    are left out.
    """
    probes = np.array([probe(reading.text) for probe in PROBES.values()], np.float32)
    middle = len(reading.text) // 2
    first_half = CorrelationSums()
    second_half = CorrelationSums()
    for characters, values in reading.quantities():
        is_second = characters >= middle
        first_half.add(probes[:, characters[~is_second]], values[~is_second])
        second_half.add(probes[:, characters[is_second]], values[is_second])
    matches = []
    for name, first, second in zip(PROBES, first_half.correlations(), second_half.correlations(), strict=True):
        best = int(np.abs(first).argmax())
        if first[best] and second.any():
            layer, unit = divmod(best, reading.model.architecture.hidden_size)
            matches.append(UnitMatch(name, layer, unit, float(second[best])))
    return sorted(matches, key=lambda match: -abs(match.correlation))


class CorrelationSums:
    """Running sums for the Pearson correlations of P probes with U units. `add` takes one part of a text at a time."""

    def __init__(self) -> None:
        self.count = 0
        self.probe_sum: Array = np.zeros(())  # (P,) after the first part
        self.probe_squares: Array = np.zeros(())  # (P,)
        self.unit_sum: Array = np.zeros(())  # (U,)
        self.unit_squares: Array = np.zeros(())  # (U,)
        self.products: Array = np.zeros(())  # (P, U)

    def add(self, probes: Array, units: Array) -> None:
        """Adds n characters. probes: (P, n). units: (n, U)."""
        probes = probes.astype(np.float64)
        units = units.astype(np.float64)
        self.count += len(units)
        self.probe_sum = self.probe_sum + probes.sum(axis=1)
        self.probe_squares = self.probe_squares + (probes * probes).sum(axis=1)
        self.unit_sum = self.unit_sum + units.sum(axis=0)
        self.unit_squares = self.unit_squares + (units * units).sum(axis=0)
        self.products = self.products + probes @ units

    def correlations(self) -> Array:
        """The correlations (P, U). They are 0 for a constant probe or unit."""
        count = max(1, self.count)
        covariance = self.products / count - np.outer(self.probe_sum / count, self.unit_sum / count)
        deviations = np.sqrt(
            np.outer(
                _variance(self.probe_sum / count, self.probe_squares / count),
                _variance(self.unit_sum / count, self.unit_squares / count),
            )
        )
        correlations: Array = np.divide(covariance, deviations, out=np.zeros_like(covariance), where=deviations > 0)
        return correlations


def _variance(mean: Array, mean_square: Array) -> Array:
    variance: Array = mean_square - mean * mean
    variance[variance < ROUNDING * mean_square] = 0
    return variance
