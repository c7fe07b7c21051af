"""The trials of a study as plain data, for tables and figures, and the check of a study that was saved."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from charrnn.errors import RunError
from charrnn.sweep.space import KINDS

STATES = ("running", "completed", "pruned", "diverged", "failed")


def counted_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials ordered by number, without surplus trials (see study.py)."""
    return [trial for trial in study.get_trials(deepcopy=False) if "surplus" not in trial.user_attrs]


def check_study(study: optuna.Study) -> None:
    """Raises RunError if the study was not created by charrnn, ValueError or TypeError if it is damaged."""
    if "charrnn" not in study.user_attrs:
        raise RunError(f"study {study.study_name}: was not created by charrnn", "choose another --study")
    space = study.user_attrs["charrnn"]["search space"]
    names = {dimension["name"] for dimension in space}
    if not names or any(dimension["kind"] not in KINDS for dimension in space):
        raise ValueError("invalid search space")
    for trial in study.get_trials(deepcopy=False):
        losses = [*(trial.values or []), *trial.intermediate_values.values()]
        if set(trial.params) != names:
            raise ValueError(f"trial {trial.number} has other options than the study")
        if not all(isinstance(value, bool | int | float | str) for value in trial.params.values()):
            raise ValueError(f"trial {trial.number} has an invalid value of an option")
        if not all(isinstance(loss, float) and math.isfinite(loss) for loss in losses):
            raise ValueError(f"trial {trial.number} has an invalid loss")
        if _state(trial) not in STATES:
            raise ValueError(f"trial {trial.number} has an unknown state")
        if _state(trial) == "completed" and trial.values is None:
            raise ValueError(f"trial {trial.number} is completed without a loss")
        if not isinstance(trial.user_attrs["owner"], str):
            raise ValueError(f"trial {trial.number} has no owner")


def trial_rows(study: optuna.Study, folder: Path) -> list[dict[str, Any]]:
    """Returns a dict for each trial. The completed trials come first, in ascending order of their loss.

    The keys are number, state, value, params, run and, if the trial has them, error and workers. `value` is the loss of
    a completed trial, the last loss of a pruned or diverged one, the lowest loss so far of others, or None.
    """
    rows = []
    for trial in counted_trials(study):
        losses = trial.values or trial.intermediate_values.values()
        row: dict[str, Any] = {
            "number": trial.number,
            "state": _state(trial),
            "value": min(losses, default=None),
            "params": trial.params,
            "run": str(folder / run_name(trial.number)),
        }
        row |= {name: trial.user_attrs[name] for name in ("error", "workers") if name in trial.user_attrs}
        rows.append(row)
    return sorted(rows, key=_rank)


def _state(trial: FrozenTrial) -> str:
    return "running" if trial.state == TrialState.RUNNING else str(trial.user_attrs.get("state", "failed"))


def _rank(row: dict[str, Any]) -> tuple[bool, float]:
    return row["state"] != "completed", math.inf if row["value"] is None else row["value"]


def log_scale_options(study: optuna.Study) -> set[str]:
    """The names of the options that are searched on a logarithmic scale."""
    space = study.user_attrs["charrnn"]["search space"]
    return {dimension["name"] for dimension in space if dimension["kind"] == "log"}


def run_name(number: int) -> str:
    """The directory name of a trial's first run: 007."""
    return f"{number:03d}"
