"""The trials of a study as plain data, for tables and figures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState


def counted_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials ordered by number, without surplus trials (see study.py)."""
    return [trial for trial in study.get_trials(deepcopy=False) if "surplus" not in trial.user_attrs]


def trial_rows(study: optuna.Study, folder: Path) -> list[dict[str, Any]]:
    """Returns a dict for each trial. The completed trials come first, in ascending order of their loss.

    The keys are number, state, value (the best validation loss so far, or None), params, run and, if the trial has
    them, error and workers.
    """
    rows = []
    for trial in counted_trials(study):
        losses = trial.values or trial.intermediate_values.values()
        row: dict[str, Any] = {
            "number": trial.number,
            "state": "running" if trial.state == TrialState.RUNNING else trial.user_attrs.get("state", "failed"),
            "value": min(losses, default=None),
            "params": trial.params,
            "run": str(folder / run_name(trial.number)),
        }
        row |= {name: trial.user_attrs[name] for name in ("error", "workers") if name in trial.user_attrs}
        rows.append(row)
    return sorted(rows, key=_rank)


def _rank(row: dict[str, Any]) -> tuple[bool, float]:
    return row["state"] != "completed", math.inf if row["value"] is None else row["value"]


def log_scale_options(study: optuna.Study) -> set[str]:
    """The names of the options that are searched on a logarithmic scale."""
    space = study.user_attrs.get("charrnn", {}).get("search space", [])
    return {dimension["name"] for dimension in space if dimension["kind"] == "log"}


def run_name(number: int) -> str:
    """The directory name of a trial's first run: 007."""
    return f"{number:03d}"
