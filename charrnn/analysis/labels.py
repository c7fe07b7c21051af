"""Labels of runs: the name of each run and the options in which the runs differ."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from charrnn.errors import printable
from charrnn.options import TASK_OPTIONS, RunConfig
from charrnn.runs.directory import Run

OMITTED = ("workers", "init_from", "save_every", "sample_every")
# The values of these options mostly depend on other options. They are shown only if the runs differ in no other option.
SECONDARY = ("dropout", "recurrent_dropout", "max_minutes", "max_steps", "max_epochs", "eval_every")
SHOWN_WITHOUT_NAME = ("cell", "optimizer", "schedule", "task")
SHORT_NAMES = {"num_layers": "layers", "learning_rate": "lr", "recurrent_dropout": "rec. dropout"}


def run_labels(runs: Sequence[Run], configs: Sequence[RunConfig]) -> list[str]:
    """A label for each run, such as "corpus-002: gru, lr 0.01".

    The default learning rate depends on the hidden size. It is shown only if some labels would be equal without it.
    """
    options = [config.to_options() for config in configs]
    names = [name for name in dict.fromkeys(itertools.chain(*options)) if name not in OMITTED]
    differing = [name for name in names if _differs(name, options)]
    shown = [name for name in differing if name not in SECONDARY] or differing
    descriptions = _describe(options, [name for name in shown if name != "learning_rate"])
    if len(set(descriptions)) < len(descriptions):
        descriptions = _describe(options, shown)
    run_names = [printable(run.path.name) for run in runs]
    return [f"{name}: {text}" if text else name for name, text in zip(run_names, descriptions, strict=True)]


def _differs(name: str, options: Sequence[dict[str, Any]]) -> bool:
    """Whether the runs have different values of an option. An option that only some tasks have may be missing."""
    runs = [values for values in options if name in values] if name in TASK_OPTIONS else options
    return len({str(values.get(name)) for values in runs}) > 1


def _describe(options: Sequence[dict[str, Any]], names: Sequence[str]) -> list[str]:
    """The values of the named options, for each run."""
    return [", ".join(_describe_option(name, values[name]) for name in names if name in values) for values in options]


def _describe_option(name: str, value: Any) -> str:
    text = f"{value:.3g}" if isinstance(value, float) else printable(str(value))
    if name == "hidden_size":
        return f"{text} units"
    if name in SHOWN_WITHOUT_NAME:
        return text
    return f"{SHORT_NAMES.get(name, name.replace('_', ' '))} {text}".strip()
