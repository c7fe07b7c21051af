"""Which engine trains: the workers on NumPy, or PyTorch where `--device` names it; and what is there to choose from."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from charrnn.engines.numpy.team import Team
from charrnn.engines.processes import of_torchrun
from charrnn.errors import UsageError
from charrnn.models.architecture import Architecture
from charrnn.models.network import NewNetwork
from charrnn.options import TrainingOptions

if TYPE_CHECKING:
    from charrnn.engines.torch.team import TorchTeam


def new_team(architecture: Architecture, train: TrainingOptions, dtype: str = "float32") -> Team | TorchTeam:
    """The engine that --device names. The settings must all be chosen."""
    if train.device == "cpu":
        return Team(architecture, train, dtype)
    from charrnn.engines.torch.team import TorchTeam

    return TorchTeam(architecture, train, dtype)


def check_engine(train: TrainingOptions) -> None:
    """Raises UsageError for a device that is not there or does not go with the other settings, ModuleNotFoundError
    where PyTorch is not."""
    processes = of_torchrun("WORLD_SIZE", 1)
    if not re.fullmatch(r"cpu|torch|cuda(:\d+)?|mps", train.device):
        raise UsageError(f"--device {train.device}: not one of cpu, torch, cuda, cuda:N, mps")
    if train.precision != "float32" and not train.device.startswith("cuda"):
        raise UsageError(f"--precision {train.precision} goes with --device cuda, not {train.device}")
    if processes > 1 and train.device not in ("torch", "cuda"):
        raise UsageError(
            f"--device {train.device} under torchrun", "its processes take --device torch, or cuda, a GPU each"
        )
    if train.device == "cpu":
        return
    if train.device not in (there := devices()):
        raise UsageError(f"--device {train.device}: not there", f"there are {', '.join(there)}")
    if train.device == "cuda" and (mine := f"cuda:{of_torchrun('LOCAL_WORLD_SIZE', 1) - 1}") not in there:
        raise UsageError(f"--device cuda: a process of torchrun would need {mine}", f"there are {', '.join(there)}")
    if train.batch_size is not None and train.batch_size < processes:
        raise UsageError(
            f"--batch-size {train.batch_size}: fewer streams than torchrun has processes", f"at least {processes}"
        )


def scoring_network(device: str) -> NewNetwork:
    """What reads texts and records with a trained model on a device of PyTorch's. Raises as check_engine does."""
    train = TrainingOptions(device=device)
    check_engine(train)
    from charrnn.engines.torch.device import prepared_device
    from charrnn.engines.torch.network import TorchScorer

    return partial(TorchScorer, prepared_device(train))


def devices() -> list[str]:
    """What `--device` can be here."""
    import torch

    there, gpus = ["cpu", "torch"], torch.cuda.device_count()
    if gpus:
        there += ["cuda", *(f"cuda:{n}" for n in range(gpus))]
    return [*there, "mps"] if torch.backends.mps.is_available() else there


def devices_of_jobs(device: str) -> list[str]:
    """What jobs side by side may share: of `cuda` all GPUs."""
    return [name for name in devices() if name.startswith("cuda:")] if device == "cuda" else [device]
