"""charrnn: character-level recurrent networks on the CPU, with NumPy.

>>> model = charrnn.load("runs/fables-001")          # a run, or a best.safetensors
>>> "".join(model.sample(prime="The Fox", length=200))
>>> model.score("The Fox said nothing.")             # nats per character
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own is worth an import that `charrnn` has no time for
if TYPE_CHECKING:
    from pathlib import Path

    from charrnn.tasks.registry import Model

__version__ = "0.1.0"


def load(path: str | Path, *, checkpoint: str = "best") -> Model:
    """A trained model from a run directory (its `best` or `last` checkpoint) or a checkpoint file: that of its
    task, TextModel for a language model."""
    from charrnn.tasks import registry  # only now: `charrnn --help` has no need of NumPy

    return registry.load_model(path, checkpoint=checkpoint)
