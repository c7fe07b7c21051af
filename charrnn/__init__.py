"""Character-level recurrent networks on the CPU, with NumPy.

train    trains a model: charrnn.train("corpus.txt", max_minutes=2)
start    the same, step by step: yields Step, Evaluated, Sampled, Saved and Done
load     loads a trained model, which has the methods predict, evaluate and sample
runs     the options and results of all runs, as a list of dicts
Error    the base class of all errors that a user can correct
"""

from __future__ import annotations

TYPE_CHECKING = False  # the constant of `typing`, without the time that importing `typing` takes
if TYPE_CHECKING:
    from charrnn.api import Training, load, start, train
    from charrnn.errors import CharRNNError as Error
    from charrnn.training.events import Done, Evaluated, Sampled, Saved, Step

__version__ = "0.1.0"
__all__ = [
    "Done",
    "Error",
    "Evaluated",
    "Sampled",
    "Saved",
    "Step",
    "Training",
    "load",
    "runs",
    "start",
    "train",
]
MODULES = {  # they are imported when they are used, so that `charrnn --help` starts fast
    "Error": "charrnn.errors",
    **dict.fromkeys(("Training", "load", "start", "train"), "charrnn.api"),
    **dict.fromkeys(("Done", "Evaluated", "Sampled", "Saved", "Step"), "charrnn.training.events"),
}


def __getattr__(name: str) -> object:
    import importlib

    if name == "runs":
        return importlib.import_module("charrnn.runs")
    if name not in MODULES:
        raise AttributeError(f"module 'charrnn' has no attribute {name!r}")
    value = getattr(importlib.import_module(MODULES[name]), "CharRNNError" if name == "Error" else name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
