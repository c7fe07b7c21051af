"""The plan of a sweep: its corpus, options and search space, and the configuration of each run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from charrnn.errors import CorpusError, UsageError
from charrnn.options import RunConfig, TrainingOptions
from charrnn.sweep.space import Dimension, Value, extreme_points, grid_points, to_options
from charrnn.tasks.registry import read_task
from charrnn.training.defaults import TASK_DEFAULTED, resolve_options


@dataclass(frozen=True)
class Plan:
    """The corpus, the options and the search space of a sweep, and the number of trials."""

    corpus: tuple[str, ...]
    options: dict[str, Any]  # the options of `charrnn train` that have one value in all trials
    space: tuple[Dimension, ...]  # the options that vary
    is_grid: bool
    study: str  # name of the study
    trials: int  # number of trials in the whole study
    jobs: int = 1  # trials that one process trains at the same time
    prune: bool = False
    repeats: int = 1  # runs of each trial, with consecutive seeds

    @property
    def seed(self) -> int:
        """The seed of the first run of each trial."""
        return int(self.options.get("seed", TrainingOptions.seed))

    def run_config(self, params: dict[str, Value], repeat: int = 0) -> RunConfig:
        """The configuration of one run of a trial. params: the values of the varied options. Raises UsageError."""
        options = self.options | to_options(params) | {"seed": self.seed + repeat}
        return RunConfig.from_options(self.corpus, options)

    def unset_options(self, params: dict[str, Value]) -> list[str]:
        """The options that the task may choose, because they are neither given nor varied.

        The hidden size is not among them. It would be chosen for the time budget and the speed of the machine at that
        moment, so trials would not be comparable.
        """
        return [name for name in TASK_DEFAULTED if name not in {"hidden_size", *self.options, *params}]

    def check(self) -> str:
        """Checks the plan before the first trial, and returns the fingerprint of the data.

        Raises CorpusError, UsageError or OutOfMemoryError.
        """
        if "-" in self.corpus:
            raise CorpusError("a sweep cannot read standard input, because each trial reads the corpus", "name a file")
        fingerprint = None
        data = None
        for point in self._points_to_check():
            config = self.run_config(point)
            if config.data != data:
                data = config.data
                # Error messages must contain the path that the user gave, not the absolute path.
                task = read_task(dataclasses.replace(config, corpus=self.corpus))
                fingerprint = fingerprint or task.fingerprint
                if not task.has_validation:
                    raise UsageError("a sweep needs validation data to compare its trials", "see --val-fraction")
            resolve_options(config.model, config.train, task, unset=self.unset_options(point), jobs=self.jobs)
        assert fingerprint is not None
        return fingerprint

    def _points_to_check(self) -> Iterator[dict[str, Value]]:
        return grid_points(self.space) if self.is_grid else extreme_points(self.space)
