"""Character-level recurrent networks on the CPU, with NumPy.

>>> model = charrnn.load("runs/fables-001")  # a run directory, or a checkpoint file
>>> "".join(model.sample(prime="The Fox", length=200))
>>> model.score("The Fox said nothing.")  # nats per character
"""

from __future__ import annotations

TYPE_CHECKING = False  # the constant of `typing`, without the time that importing `typing` takes
if TYPE_CHECKING:
    from pathlib import Path

    from charrnn.tasks.base import TrainedModel

__version__ = "0.1.0"


def load(path: str | Path, *, checkpoint: str = "best", device: str = "cpu") -> TrainedModel:
    """Loads a trained model.

    path: a run directory, the name of a run, or a checkpoint file.
    checkpoint: "best" or "last", if the path is a run.
    device: "cpu" for NumPy. Other devices need PyTorch.

    The class of the model depends on its task. A language model is a TextModel. Raises RunError.
    """
    # Imported here, because `charrnn --help` does not need NumPy.
    from charrnn.engines.select import new_backend
    from charrnn.tasks.registry import load_model

    return load_model(path, checkpoint=checkpoint, backend=new_backend(device))
