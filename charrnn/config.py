"""The settings of a run as frozen dataclasses: one place for each option's name, type, range, default and help text.

The command line, the TOML files, `config.json` and the checkpoints' metadata all read and write these classes.
A default of None means "chosen for this corpus and budget"; a run's `config.json` holds what was chosen.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from charrnn.errors import UsageError
from charrnn.settings import Settings, dashed, setting

CELLS = ("lstm", "gru", "rnn")
OPTIMIZERS = ("adamw", "adam", "rmsprop", "adagrad", "sgd")
SCHEDULES = ("cosine", "linear", "constant")
TASKS = ("lm", "classify", "tag", "translate", "series")
LARGEST, MOST = 10**8, 10**12  # a batch; steps: beyond is a slip of the finger
ALIASES = {"lr": "learning_rate"}  # short names of options


MODEL_GIVEN = "the model is given"
EXCLUSIVE = (  # options that exclude each other, of all commands, and why
    ("val_file", "val_fraction", ""),
    ("bytes", "encoding", ""),
    *((name, "init_from", MODEL_GIVEN) for name in ("cell", "hidden_size", "num_layers", "embedding_size")),
    ("resume", "run", ""),
    ("resume", "init_from", ""),
    ("run", "model", ""),
    ("copies", "model", "the corpus is that of a run"),
    ("prime", "prime_file", ""),
    ("per_line", "per_char", ""),
    ("unit", "find", ""),
    ("json", "csv", ""),
    ("json", "toml", ""),
    ("grid", "search", "--search NAME=choice:A,B searches over listed values"),
)


def refuse_exclusive(options: dict[str, Any]) -> None:
    """Raises UsageError if two options exclude each other. One that is None, False or an empty list was not given."""
    given = {name for name, value in options.items() if value is not None and value is not False and value != []}
    for one, other, reason in EXCLUSIVE:
        if one in given and other in given:
            raise UsageError(f"--{dashed(one)} and --{dashed(other)} exclude each other", reason)


OF_TASKS = {  # options that go with some tasks only
    "bytes": ("lm",),
    "lines": ("lm",),
    "features": ("lm",),
    "delay": ("tag",),
    "target": ("series",),
}


def _refuse_other_tasks(text: TextConfig, options: dict[str, Any]) -> None:
    """Raises UsageError for an option that has no meaning for the task."""
    for name, tasks in OF_TASKS.items():
        if options.get(name) not in (None, False) and text.task not in tasks:
            raise UsageError(f"--{dashed(name)} goes with --task {tasks[0]}, not {text.task}")
    if text.features is not None and text.bytes:
        raise UsageError("--features goes with characters, not with --bytes")
    if text.task == "series" and text.val_file is not None:
        raise UsageError("--val-file: a series is split by time", "see --val-fraction")
    if text.task == "series" and options.get("embedding_size"):
        raise UsageError("--embedding-size: a series is of numbers, which need none")


def part(cls: type[Settings], settings: dict[str, Any]) -> Any:
    """An object of the class from those of the settings that are its own."""
    names = {spec.name for spec in dataclasses.fields(cls)}  # type: ignore[arg-type]
    return cls.from_dict({name: value for name, value in settings.items() if name in names})


@dataclass(frozen=True)
class ModelConfig(Settings):
    """The shape of a network, as far as a user chooses it."""

    cell: str = setting("lstm", "The recurrent cell: lstm, gru or rnn (tanh).", choices=CELLS)
    hidden_size: int = setting(
        256, "Hidden units a layer.", low=1, high=65536, shown="fits the minutes; 256 for other budgets"
    )
    num_layers: int = setting(1, "Recurrent layers.", low=1, high=64)
    embedding_size: int = setting(
        0, "Width of a learnt input embedding; 0 = one-hot input. For tag 64, if not given.", low=0, high=65536
    )


@dataclass(frozen=True)
class TextConfig(Settings):
    """What is learnt, and how its files are read and split."""

    task: str = setting(
        "lm", "What is learnt: lm (text), classify, tag or translate (records), series (numbers).", choices=TASKS
    )
    bytes: bool = setting(False, "Learn byte values instead of characters: any file trains.")
    encoding: str = setting("utf-8", "Text encoding of the corpus.")
    lines: bool = setting(False, "Each line is a record of its own: the state resets, the newline ends it.")
    val_fraction: float = setting(
        0.1, "Share of the text kept for validation, after the training part.", low=0, below=1
    )
    test_fraction: float = setting(0.0, "Share of the text kept for a final test, at the end.", low=0, below=1)
    val_file: str | None = setting(None, "Validate on this file instead of a share of the corpus.")
    features: str | None = setting(None, "Numbers that each line begins with, a row a line: .npy or .csv.")
    delay: int | None = setting(
        None, "tag: steps between a character and its tag.", low=0, high=10**6, shown="fits the records"
    )
    target: list[str] | None = setting(  # noqa: RUF009 - its default is None
        None, "series: a column to predict from the others; repeatable."
    )


@dataclass(frozen=True)
class TrainConfig(Settings):
    """How a network is trained. Losses are nats per character."""

    batch_size: int | None = setting(
        None, "Parallel streams of text (B).", low=1, high=LARGEST, shown="32, less for a small corpus"
    )
    seq_length: int | None = setting(
        None,
        "Characters of back-propagation through time (T).",
        low=1,
        high=LARGEST,
        shown="64, less for a small corpus",
    )
    optimizer: str = setting("adamw", "adamw, adam, rmsprop, adagrad or sgd (momentum 0.9).", choices=OPTIMIZERS)
    learning_rate: float | None = setting(None, "Peak learning rate.", low=0, shown="fits optimizer and size")
    schedule: str = setting(
        "constant", "Course of the learning rate over the budget: constant, cosine or linear.", choices=SCHEDULES
    )
    warmup_steps: int = setting(50, "Steps over which the learning rate rises from 0.", low=0, high=MOST)
    dropout: float | None = setting(
        None,
        "Share of each layer's outputs dropped in training.",
        low=0,
        below=1,
        shown="more for a large model, less for a large corpus",
    )
    recurrent_dropout: float | None = setting(
        None,
        "Share of the weights between hidden units dropped in each step (DropConnect).",
        low=0,
        below=1,
        shown="as for --dropout",
    )
    weight_decay: float = setting(0.0, "Decoupled weight decay (adamw), on the weight matrices.", low=0)
    clip_norm: float = setting(1.0, "Clip the gradient's global L2 norm; 0 = off.", low=0)
    clip_value: float = setting(0.0, "Clip each element of the gradient; 0 = off.", low=0)
    max_epochs: float | None = setting(None, "Stop after this many passes over the training text.", low=0, high=1e6)
    max_steps: int | None = setting(None, "Stop after this many steps.", low=0, high=MOST)
    max_minutes: float | None = setting(
        None, "Stop after this many minutes.", low=0, high=1e7, shown="5, if no other budget"
    )
    patience: int = setting(
        0, "Stop after this many evaluations without a better validation loss; 0 = off.", low=0, high=MOST
    )
    seed: int = setting(1, "Seed of everything random.", low=0, high=2**63 - 1)
    workers: int | None = setting(None, "Processes that share each batch.", low=1, high=1024, shown="the cores")
    device: str = setting("cpu", "cpu (NumPy), torch (PyTorch on the CPU), cuda, cuda:N or mps.")
    precision: str = setting("float32", "Of a GPU's products: float32, or tf32.", choices=("float32", "tf32"))
    eval_every: int | None = setting(
        None,
        "Steps between evaluations.",
        low=1,
        high=MOST,
        shown="20 in the budget, fewer where they took over 4 % of it",
    )
    save_every: int | None = setting(None, "Steps between saves.", low=1, high=MOST, shown="every 30 s and evaluation")
    sample_every: int | None = setting(
        None, "Steps between samples shown while training.", low=1, high=MOST, shown="never"
    )


@dataclass(frozen=True)
class SampleConfig(Settings):
    """How the next character is chosen from the model's distribution."""

    temperature: float = setting(0.7, "Divides the logits: below 1 is safer, above 1 wilder; 0 = greedy.", low=0)
    top_k: int = setting(0, "Choose among the k most likely characters; 0 = all.", low=0)
    top_p: float = setting(
        1.0, "Choose among the most likely characters that hold this much probability.", low=0, high=1
    )
    min_p: float = setting(0.0, "Drop characters less likely than this share of the most likely one's.", low=0, high=1)
    greedy: bool = setting(False, "Always take the most likely character.")


@dataclass(frozen=True)
class Origin(Settings):
    """The checkpoint whose weights a run began with, as the file was then."""

    path: str
    sha256: str


@dataclass(frozen=True)
class RunConfig:
    """All settings of a run: what `config.json` holds."""

    corpus: tuple[str, ...]
    model: ModelConfig
    text: TextConfig
    train: TrainConfig
    init_from: Origin | None = None

    def to_dict(self) -> dict[str, Any]:
        parts = {part: getattr(self, part).to_dict() for part in ("model", "text", "train")}
        return {"corpus": list(self.corpus), **parts, "init_from": self.init_from and self.init_from.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RunConfig:
        """Strict, as the parts are. Raises UsageError, KeyError or TypeError."""
        return cls(
            tuple(map(str, values["corpus"])),
            ModelConfig.from_dict(values["model"]),
            TextConfig.from_dict(values["text"]),
            TrainConfig.from_dict(values["train"]),
            None if values.get("init_from") is None else Origin.from_dict(values["init_from"]),
        )

    @classmethod
    def from_options(cls, corpus: Sequence[str], options: dict[str, Any]) -> RunConfig:
        """From the options of `charrnn train` that were given, by name. Raises UsageError.

        Paths become absolute, so that a run can be resumed from anywhere.
        """
        refuse_exclusive(options)
        text = part(TextConfig, options)
        for name in ("val_file", "features"):
            if getattr(text, name) is not None:
                text = dataclasses.replace(text, **{name: os.path.abspath(getattr(text, name))})
        _refuse_other_tasks(text, options)
        paths = tuple(path if path == "-" else os.path.abspath(path) for path in corpus)
        return cls(paths, part(ModelConfig, options), text, part(TrainConfig, options))

    def to_options(self) -> dict[str, Any]:
        """The options of `charrnn train` that give this configuration: from_options backwards."""
        origin: dict[str, Any] = {"init_from": self.init_from and self.init_from.path}
        options = origin | ({} if self.init_from else self.model.to_dict()) | self.text.to_dict() | self.train.to_dict()
        if self.text.val_file is not None:
            del options["val_fraction"]
        if self.text.bytes:
            del options["encoding"]
        return {name: value for name, value in options.items() if value is not None}
