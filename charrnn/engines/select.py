"""Selects the engine of a device: NumPy for `cpu`, PyTorch for all other devices. Checks that the device exists."""

from __future__ import annotations

import re

from charrnn.engines.base import Backend, Engine
from charrnn.engines.numpy.backend import NumpyBackend
from charrnn.engines.processes import torchrun_variable
from charrnn.errors import UsageError
from charrnn.models.architecture import Architecture
from charrnn.options import ResolvedTraining, TrainingOptions


def new_engine(architecture: Architecture, train: ResolvedTraining, dtype: str = "float32") -> Engine:
    """The engine that trains on `train.device`."""
    # Imported here, because only training needs an engine, and importing it takes time.
    if train.device == "cpu":
        from charrnn.engines.numpy.engine import NumpyEngine

        return NumpyEngine(architecture, train, dtype)
    from charrnn.engines.torch.engine import TorchEngine

    return TorchEngine(architecture, train, dtype)


def new_backend(device: str = "cpu") -> Backend:
    """The backend of a device. Raises the errors of `check_device`."""
    if device == "cpu":
        return NumpyBackend()
    train = TrainingOptions(device=device)
    check_device(train)
    from charrnn.engines.torch.backend import TorchBackend
    from charrnn.engines.torch.device import prepare_device

    return TorchBackend(prepare_device(train))


def check_device(train: TrainingOptions) -> None:
    """Checks that the device exists and fits the other options. Raises UsageError, or ModuleNotFoundError if PyTorch is
    needed but not installed."""
    device = train.device
    processes = torchrun_variable("WORLD_SIZE", 1)
    if not re.fullmatch(r"cpu|torch|cuda(:\d+)?|mps", device):
        raise UsageError(f"--device {device}: not one of cpu, torch, cuda, cuda:N, mps")
    if train.precision != "float32" and not device.startswith("cuda"):
        raise UsageError(f"--precision {train.precision} needs --device cuda, not {device}")
    if processes > 1 and device not in ("torch", "cuda"):
        raise UsageError(
            f"--device {device} cannot be used with torchrun", "use --device torch, or cuda with one GPU per process"
        )
    if device == "cpu":
        return
    available = available_devices()
    if device not in available:
        raise UsageError(f"--device {device}: not available", f"available: {', '.join(available)}")
    last_gpu = f"cuda:{torchrun_variable('LOCAL_WORLD_SIZE', 1) - 1}"
    if device == "cuda" and last_gpu not in available:
        raise UsageError(f"--device cuda: torchrun needs {last_gpu}", f"available: {', '.join(available)}")
    if train.batch_size is not None and train.batch_size < processes:
        raise UsageError(f"--batch-size {train.batch_size}: must be at least {processes}", "one per torchrun process")


def available_devices() -> list[str]:
    """The valid values of `--device` on this machine."""
    import torch

    devices = ["cpu", "torch"]
    gpus = torch.cuda.device_count()
    if gpus:
        devices += ["cuda", *(f"cuda:{n}" for n in range(gpus))]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return devices


def job_devices(device: str) -> list[str]:
    """The devices for jobs that run at the same time: all GPUs for `cuda`, otherwise the device itself."""
    if device != "cuda":
        return [device]
    return [name for name in available_devices() if name.startswith("cuda:")]
