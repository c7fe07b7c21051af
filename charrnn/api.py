"""The Python interface: `charrnn.train`, `charrnn.start` and `charrnn.load`. It does what the command line does, with
the same code."""

from __future__ import annotations

import contextlib
import difflib
import math
import os
import shutil
import signal
import threading
import warnings
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.engines.select import new_backend
from charrnn.errors import UsageError, converting_errors
from charrnn.fields import flag
from charrnn.options import ALIASES, DataOptions, ModelOptions, RunConfig, TrainingOptions
from charrnn.runs.directory import Run, create_run, find_run
from charrnn.tasks.base import TrainedModel
from charrnn.tasks.data import DataFiles, naming_data
from charrnn.tasks.registry import load_ensemble, model_class
from charrnn.training.events import Done, Evaluated, Event, Step
from charrnn.training.loggers import check_trackers, make_loggers
from charrnn.training.observers import Observers
from charrnn.training.start import resume_run, start_run
from charrnn.training.trainer import Trainer

OPTIONS = [name for cls in (ModelOptions, DataOptions, TrainingOptions) for name in cls.__dataclass_fields__]
FILE_OPTIONS = ("encoding", "glob", "header")  # options for data in files only
DATA_STEM = "data"  # the names of runs that are trained with data in memory start with it

PathLike = str | os.PathLike[str]


@converting_errors()
def load(path: PathLike | Sequence[PathLike], *, checkpoint: str = "best", device: str = "cpu") -> TrainedModel:
    """Loads a trained model. Its class depends on the task; every model has `predict`, `evaluate` and `sample`.

    path: a run directory, the name of a run, or a checkpoint file. The probabilities of several are averaged.
    checkpoint: "best" or "last", if the path is a run.
    device: "cpu" for NumPy. Other devices need PyTorch.

    >>> model = charrnn.load("fables-001")
    >>> len(model.sample("The Fox", length=20, seed=1))
    20
    >>> sorted(model.evaluate(data="The Fox said nothing."))
    ['bpc', 'chars', 'loss', 'perplexity', 'skipped']
    """
    if checkpoint not in ("best", "last"):
        raise UsageError(f"--checkpoint {checkpoint}: not one of best, last")
    paths = [find_run(Path(each)) for each in _paths(path)]
    for each in paths:
        if not each.is_file():
            Run(each).check_there()
    return load_ensemble(paths, checkpoint=checkpoint, backend=new_backend(device))


def train(corpus: PathLike | Sequence[PathLike] = (), *, progress: bool = False, **options: Any) -> TrainedModel:
    """Trains a model, as `charrnn train` does, and returns the best one. Nothing is printed.

    corpus, options: see `start`. progress: show a progress bar.

    After Ctrl-C the run is saved, KeyboardInterrupt is raised, and train(resume=RUN) continues the run.

    >>> model = charrnn.train("fables.txt", hidden_size=8, max_steps=2)
    >>> pairs = [("good morning", "greeting"), ("come here", "order"), ("good day", "greeting")]
    >>> model = charrnn.train(data=pairs, task="classify", hidden_size=8, max_steps=2)
    >>> model.predict("good morning")["label"] in ("greeting", "order")
    True
    """
    training = start(corpus, **options)
    with _ProgressBar(is_shown=progress) as bar:
        for event in training:
            bar.show(event)
    return training.model


@converting_errors()
def start(
    corpus: PathLike | Sequence[PathLike] = (),
    *,
    data: Any = None,
    val_data: Any = None,
    run: PathLike | None = None,
    resume: PathLike | None = None,
    init_from: PathLike | None = None,
    log: str | Sequence[str] = (),
    **options: Any,
) -> Training:
    """Starts or resumes a run. Returns a Training, which trains while it is iterated over.

    corpus: a file or several files.
    data: data in memory instead of a corpus. They are stored in the run directory, so that the run can be resumed.
        lm                        a text, bytes, or a list of lines
        classify, tag, translate  pairs of a text and an output, such as zip(texts, labels)
        transcribe, caption       pairs of a matrix (T, D) or a vector (F,), and a text
        series                    a pandas frame, a dict of columns, or an array
    val_data: validation data of the same form.
    run: the directory of the run. resume: the run to continue. init_from: the run or checkpoint to start from.
    log: trackers, "tensorboard", "wandb" or "mlflow". If one fails, Python warns, and the run continues without it.
    options: any option of `charrnn train`, by name: `hidden_size=128` is --hidden-size 128.

    Raises charrnn.Error, whose `exit_code` is that of the command line.

    >>> training = charrnn.start("fables.txt", hidden_size=8, max_steps=10, eval_every=2)
    >>> for event in training:
    ...     match event:
    ...         case charrnn.Evaluated(metrics) if metrics["step"] == 4:
    ...             training.stop()
    >>> training.result["status"], training.result["steps"]
    ('interrupted', 4)
    """
    options = _check_options(options)
    log = [log] if isinstance(log, str) else list(log)
    check_trackers(log)
    in_memory = data is not None
    if in_memory and (corpus or resume):
        raise UsageError(f"data cannot be used together with {'resume' if resume else 'a corpus'}")
    if val_data is not None and not in_memory:
        raise UsageError("val_data needs data", "if the corpus is a file, use val_file")
    if resume is not None:
        if run is not None or init_from is not None:
            raise UsageError(f"--resume and --{'run' if run is not None else 'init-from'} cannot be used together")
        return Training(resume_run(Path(resume), _paths(corpus), options), log)
    origin = None if init_from is None else Path(init_from)
    directory = None if run is None else Path(run)
    if not in_memory:
        return Training(start_run(_paths(corpus), options, run=directory, init_from=origin), log)
    return Training(_start_with_data(data, val_data, options, directory, origin), log)


class Training:
    """A run that is trained while this object is iterated over.

    Each iteration yields an event: Step, Evaluated, Sampled, Saved or Done. When the loop is left by `break`, the run
    is saved. Another loop continues the run.
    """

    def __init__(self, trainer: Trainer, log: Sequence[str] = ()) -> None:
        self.trackers = log
        self._use(trainer)
        self.result: dict[str, Any] | None = None  # the content of result.json, when the run has ended
        self._loop: weakref.ref[Iterator[Event]] | None = None  # the last loop over the events

    def _use(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.trainer.samples_at_evaluations = bool(self.trackers)
        self._observers = Observers(
            make_loggers(self.trackers, trainer), lambda line: warnings.warn(line, stacklevel=2)
        )

    @property
    def run(self) -> Path:
        """The run directory."""
        return self.trainer.run_directory.path

    @property
    def notices(self) -> list[str]:
        """Messages about the data and the choice of options."""
        return list(self.trainer.notices)

    @property
    def model(self) -> TrainedModel:
        """The best model so far. Raises RunError if nothing has been saved yet."""
        return load(self.run)

    def stop(self) -> None:
        """Ends the run after the current step. The run is saved and can be resumed."""
        self.trainer.interrupt(signal.SIGINT)

    @converting_errors()
    def __iter__(self) -> Iterator[Event]:
        if self._loop is not None:
            previous: Any = self._loop()
            if previous is not None:  # the traceback of an exception can keep alive a loop that was left
                previous.close()
            self._use(resume_run(self.run, [], {}))
        loop = self._events()
        self._loop = weakref.ref(loop)
        return loop

    def _events(self) -> Iterator[Event]:
        trainer = self.trainer
        self._observers.begin()
        events = trainer.run()
        with _saving_at_ctrl_c(trainer) as ctrl_c:
            try:
                while (event := self._next(events)) is not None:
                    yield event
            finally:
                trainer.interrupt(signal.SIGINT)
                while self._next(events) is not None:  # if the loop was left, the trainer still has to save the run
                    pass
        if ctrl_c.is_set():
            raise KeyboardInterrupt

    @converting_errors()
    def _next(self, events: Iterator[Event]) -> Event | None:
        """The next event, or None after the last one. NumPy does not warn, because the trainer checks the values."""
        with np.errstate(all="ignore"):
            event = next(events, None)
        if isinstance(event, Done):
            self.result = event.result
        if event is not None:
            self._observers.show(event)
        return event

    def __repr__(self) -> str:
        status = "training" if self.result is None else self.result["status"]
        return f"<Training {self.run}: {status}, step {self.trainer.state.step:,}>"


def _start_with_data(
    data: Any, val_data: Any, options: dict[str, Any], path: Path | None, init_from: Path | None
) -> Trainer:
    """Creates a run directory that contains the data, and returns the trainer of the run. If that fails, the directory
    is removed."""
    for name in FILE_OPTIONS:
        if name in options:
            raise UsageError(f"{flag(name)}: only for files, not for data in memory")
    write = model_class(RunConfig.from_options([DATA_STEM], _with_vector_placeholder(options)).data.task).write_data
    directory = create_run(path, DATA_STEM)
    try:
        val_folder = directory.data / "val"
        with naming_data(directory.data, "data"), naming_data(val_folder, "val_data"):
            files = _write(write, directory.data, data)
            options = {**files.options, **options}
            if val_data is not None:
                options["val_file"] = str(_write(write, val_folder, val_data).path)
            return start_run([str(files.path)], options, run=directory.path, init_from=init_from)
    except BaseException:
        shutil.rmtree(directory.data, ignore_errors=True)
        with contextlib.suppress(OSError):
            directory.path.rmdir()
        raise


def _with_vector_placeholder(options: dict[str, Any]) -> dict[str, Any]:
    """The options, for captions with a placeholder for `features`. The vectors are in the data, not in a file."""
    return options | ({"features": DATA_STEM} if options.get("task") == "caption" else {})


def _write(write: Any, folder: Path, data: Any) -> DataFiles:
    folder.mkdir(parents=True, exist_ok=True)
    files: DataFiles = write(folder, data)
    return files


def _check_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, by their full names and with plain values. Raises UsageError for an unknown name."""
    checked = {}
    for given, value in options.items():
        name = ALIASES.get(given, given)
        if name not in OPTIONS:
            close = difflib.get_close_matches(given, OPTIONS, 1)
            raise UsageError(f"no such option: {given}", f"did you mean {close[0]}?" if close else "see charrnn train")
        if name in checked:
            raise UsageError(f"{name} is given twice, under two names")
        if isinstance(value, np.generic):
            value = value.item()
        if value is not None:
            checked[name] = os.fspath(value) if isinstance(value, os.PathLike) else value
    return checked


def _paths(paths: PathLike | Sequence[PathLike]) -> list[str]:
    """One or several paths as a list. Raises UsageError for anything else."""
    listed = [paths] if isinstance(paths, str | os.PathLike) else paths
    if not isinstance(listed, list | tuple) or not all(isinstance(path, str | os.PathLike) for path in listed):
        raise UsageError(f"{type(paths).__name__} is not a path or a list of paths", "give data in memory as data=...")
    return [os.fspath(path) for path in listed]


@contextlib.contextmanager
def _saving_at_ctrl_c(trainer: Trainer) -> Iterator[threading.Event]:
    """Context manager in which the first Ctrl-C makes the trainer save and end the run; a second one raises
    KeyboardInterrupt at once. Yields an event that is set by Ctrl-C."""
    pressed = threading.Event()
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield pressed  # the program handles Ctrl-C itself
        return

    def handle(number: int, _: object) -> None:
        pressed.set()
        trainer.interrupt(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, handle)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class _ProgressBar:
    """A progress bar, in a notebook or on stderr."""

    def __init__(self, *, is_shown: bool) -> None:
        self.bar: Any = None
        self.val_text = ""
        if is_shown:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # without ipywidgets, tqdm warns and draws a bar of characters
                from tqdm.auto import tqdm
            self.bar = tqdm(total=1.0, bar_format="{percentage:3.0f}%|{bar}| {desc}")

    def __enter__(self) -> _ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def show(self, event: Event) -> None:
        if self.bar is None:
            return
        match event:
            case Evaluated(metrics) if metrics["val_loss"] is not None:
                self.val_text = f", val {metrics['val_loss']:.3f}"
            case Step():
                left = f", {event.seconds_left:.0f} s left" if math.isfinite(event.seconds_left) else ""
                self.bar.set_description_str(f"step {event.step:,}, loss {event.loss:.3f}{self.val_text}{left}", False)
                self.bar.update(event.progress - self.bar.n)
