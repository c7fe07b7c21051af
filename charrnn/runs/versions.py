"""What older versions of charrnn wrote, in today's words."""

from __future__ import annotations

from typing import Any

MOVED = ("dropout", "recurrent_dropout")  # were of the model, are of the training


def todays_config(config: Any) -> Any:
    """A run's configuration. What is no configuration at all is left to its reader to refuse."""
    match config:
        case {"model": {"dropout": _, "recurrent_dropout": _, **model}, "train": dict(train)}:
            moved = {name: config["model"][name] for name in MOVED}
            return config | {"model": model, "train": train | moved}
    return config


def todays_checkpoint(about: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint's metadata, up to `version`. Raises KeyError or TypeError for what version 1 never wrote."""
    if about.get("version") != 1:
        return about
    size = len(about["vocabulary"])
    model = {name: value for name, value in about["model"].items() if name not in MOVED}
    training = dict(about["training"])
    if "progress" in training:
        training["standing"] = training.pop("progress")
    return {
        "version": 2,
        "architecture": model | {"input_size": size, "output_size": size},
        "task": {"name": "lm", **{name: about[name] for name in ("vocabulary", "bytes", "lines")}},
        "training": training,
    }
