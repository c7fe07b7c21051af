"""The options of a run as frozen dataclasses: the one place for each option's name, type, range, default and help.

The command line, TOML files, `config.json` and the metadata of checkpoints all read and write these classes. A default
of None means that the value is chosen for the data, the budget and the machine (`training/defaults.py`). The
`config.json` of a run holds the value that was chosen.
"""

from __future__ import annotations

import dataclasses
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from charrnn.errors import UsageError
from charrnn.fields import CheckedFields, checked_field, flag

CELLS = ("lstm", "gru", "rnn")
OPTIMIZERS = ("adamw", "adam", "rmsprop", "adagrad", "sgd")
SCHEDULES = ("cosine", "linear", "constant")
TASKS = ("lm", "classify", "tag", "translate", "transcribe", "series", "caption")
MISSING_RULES = ("error", "drop", "previous", "mean")
MAX_BATCH = 10**8  # upper limit of batch_size and seq_length; a larger value is a typing error
MAX_STEPS = 10**12
ALIASES = {"lr": "learning_rate"}  # short names of options

MODEL_IS_GIVEN = "the architecture is taken from the other model"
EXCLUSIVE = (  # pairs of options that cannot be used together, and the reason if it is not obvious
    ("val_file", "val_fraction", ""),
    ("bytes", "encoding", ""),
    ("columns", "ignore", ""),
    ("bytes", "newline", ""),
    ("bytes", "normalize", ""),
    ("bytes", "document_separator", ""),
    ("lines", "document_separator", ""),
    ("cell", "init_from", MODEL_IS_GIVEN),
    ("hidden_size", "init_from", MODEL_IS_GIVEN),
    ("num_layers", "init_from", MODEL_IS_GIVEN),
    ("embedding_size", "init_from", MODEL_IS_GIVEN),
)
RECORD_TASKS = ("classify", "tag", "translate", "transcribe")
TASK_OPTIONS = {  # options that only some tasks have
    "bytes": ("lm",),
    "newline": ("lm",),
    "normalize": ("lm", "classify", "translate", "transcribe", "caption"),
    "document_separator": ("lm",),
    "lines": ("lm",),
    "features": ("caption",),
    "columns": (*RECORD_TASKS, "series"),
    "header": RECORD_TASKS,
    "delay": ("tag",),
    "target": ("series",),
    "target_history": ("series",),
    "ignore": ("series",),
    "missing": ("series",),
    "source_separator": ("translate",),
    "target_separator": ("translate", "transcribe", "caption"),
    "subsample": ("transcribe",),
}

Options = TypeVar("Options", bound=CheckedFields)
ExclusivePairs = Sequence[tuple[str, str, str]]


def check_exclusive(options: dict[str, Any], pairs: ExclusivePairs = EXCLUSIVE) -> None:
    """Raises UsageError if both options of a pair were given. None, False and an empty list mean "not given"."""
    given = {name for name, value in options.items() if value is not None and value is not False and value != []}
    for first, second, reason in pairs:
        if first in given and second in given:
            raise UsageError(f"{flag(first)} and {flag(second)} cannot be used together", reason)


def select_options(cls: type[Options], options: dict[str, Any]) -> Options:
    """Makes an object of the class from the options that are fields of the class. Raises UsageError."""
    names = {spec.name for spec in dataclasses.fields(cls)}  # type: ignore[arg-type]
    return cls.from_dict({name: value for name, value in options.items() if name in names})


@dataclass(frozen=True)
class ModelOptions(CheckedFields):
    """The options that determine the shape of a network."""

    cell: str = checked_field(
        "lstm",
        "Recurrent cell: lstm, gru or rnn (tanh).",
        choices=CELLS,
        default_text="lstm; for --task classify, caption, translate (below 30,000 records), and series without --target"
        " gru",
    )
    hidden_size: int = checked_field(
        256,
        "Hidden units in each layer.",
        low=1,
        high=65536,
        default_text="fits the data and the time budget; at most 256 for other budgets",
    )
    num_layers: int = checked_field(1, "Number of recurrent layers.", low=1, high=64)
    embedding_size: int = checked_field(
        0,
        "Size of a learned input embedding; 0 = one-hot input.",
        low=0,
        high=65536,
        default_text="0 (128 from 1,000 symbols on); for --task tag and translate 64, transcribe and caption 32",
    )
    attention: bool = checked_field(
        True, "translate, transcribe, caption: the decoder attends to the encoder's outputs."
    )


@dataclass(frozen=True)
class DataOptions(CheckedFields):
    """The task, and how its files are read and split."""

    task: str = checked_field(
        "lm",
        "Task to learn: lm (text), classify, tag or translate (records), transcribe (text from matrices), "
        "series (numbers), caption (text from vectors, see --features).",
        choices=TASKS,
    )
    bytes: bool = checked_field(False, "Use byte values instead of characters as the vocabulary: any file can be read.")
    encoding: str = checked_field("utf-8", "Text encoding of the corpus.")
    newline: str = checked_field(
        "lf", "Line ends CR LF and CR of the corpus: lf (they become LF) or keep.", choices=("lf", "keep")
    )
    normalize: str = checked_field(
        "NFC",
        "Unicode normal form of the texts: NFC (translate decomposes the syllables of Korean), NFD (predictions are "
        "composed again), NFKC or none.",
        choices=("NFC", "NFD", "NFKC", "none"),
        default_text="NFC; for --task tag none",
    )
    glob: str | None = checked_field(
        None, "Which files of a directory are read, in natural order.", default_text="**/*.txt"
    )
    document_separator: str | None = checked_field(
        None,
        r"Text between two records of several lines (\n is the line feed), which is also added between files: the "
        "state is reset there, and a sample ends there.",
    )
    lines: bool = checked_field(False, "Each line is a separate record: the state is reset at the start of each line.")
    val_fraction: float = checked_field(
        0.1, "Fraction of the data used for validation, after the training part.", low=0, below=1
    )
    test_fraction: float = checked_field(0.0, "Fraction of the data used for a final test, at the end.", low=0, below=1)
    val_file: str | None = checked_field(None, "Validate on this file instead of a fraction of the corpus.")
    features: str | None = checked_field(
        None, "Vectors that the lines describe, one row for each line: .npy or .csv. Implies --task caption."
    )
    columns: str | None = checked_field(
        None,
        "The columns to read. Records: those of the text and the output, by number or name, such as 3,1. series: all "
        "columns of the series, by name.",
        default_text="records: the first two; series: all but dates and an index",
    )
    header: bool = checked_field(False, "Records: the first line of each file contains the names of the columns.")
    delay: int | None = checked_field(
        None,
        "tag: time steps between a character and its tag.",
        low=0,
        high=10**6,
        default_text="depends on the records",
    )
    source_separator: str | None = checked_field(
        None, "translate: separator between the symbols of a source.", default_text="each character is a symbol"
    )
    target_separator: str | None = checked_field(
        None,
        "translate, transcribe, caption: separator between the symbols of a target.",
        default_text="each character is a symbol",
    )
    subsample: int | None = checked_field(
        None,
        "transcribe: number of rows that are joined to one source step.",
        low=1,
        high=10_000,
        default_text="2 for many rows per symbol, else 1",
    )
    target: list[str] | None = checked_field(  # noqa: RUF009 - the default is None
        None, "series: a column to predict; repeatable.", default_text="all columns"
    )
    target_history: bool = checked_field(
        True, "series: the target's value in the row before is an input too; not for labels. --no-target-history: off."
    )
    ignore: str | None = checked_field(None, "series: columns that are not read, as A,B,...")
    missing: str | None = checked_field(
        None,
        "series: what to do with a missing value: error; drop (the row); previous (use the value before); mean.",
        choices=MISSING_RULES,
        default_text="error",
    )

    @property
    def separator(self) -> str | None:
        """The document separator with its line feeds, in the normal form of the texts."""
        if self.document_separator is None:
            return None
        text = self.document_separator.replace("\\n", "\n")
        return text if self.normalize == "none" else unicodedata.normalize(self.normalize, text)  # type: ignore[arg-type]


@dataclass(frozen=True)
class TrainingOptions(CheckedFields):
    """How a network is trained. Losses are in nats per character."""

    batch_size: int | None = checked_field(
        None,
        "Number of parallel text streams (B).",
        low=1,
        high=MAX_BATCH,
        default_text="32, less for a small corpus",
    )
    seq_length: int | None = checked_field(
        None,
        "Time steps of truncated back-propagation through time (T); also the maximum length of sources and targets.",
        low=1,
        high=MAX_BATCH,
        default_text="lm, series: 64, less for a small corpus; other tasks: the longest record, at most 1024 steps, "
        "for translate, transcribe and caption 4096",
    )
    optimizer: str = checked_field("adamw", "adamw, adam, rmsprop, adagrad or sgd (momentum 0.9).", choices=OPTIMIZERS)
    learning_rate: float | None = checked_field(
        None, "Peak learning rate.", low=0, default_text="depends on the optimizer, the task and the hidden size"
    )
    schedule: str = checked_field(
        "constant",
        "Learning rate over the budget: constant, cosine or linear.",
        choices=SCHEDULES,
        default_text="constant; for --task translate, transcribe and caption cosine",
    )
    warmup_steps: int = checked_field(
        50, "Steps over which the learning rate rises linearly from 0.", low=0, high=MAX_STEPS
    )
    dropout: float | None = checked_field(
        None,
        "Dropout probability of each layer's outputs.",
        low=0,
        below=1,
        default_text="more for a large model, less for a large corpus and for --task tag",
    )
    recurrent_dropout: float | None = checked_field(
        None,
        "Dropout probability of the recurrent weights, drawn at each step (DropConnect).",
        low=0,
        below=1,
        default_text="as for --dropout; for --task translate, transcribe and caption 0",
    )
    weight_decay: float = checked_field(
        0.0,
        "Decoupled weight decay of the weight matrices (adamw).",
        low=0,
        default_text="0; for --task tag 0.15",
    )
    clip_norm: float = checked_field(1.0, "Clip the gradient's global L2 norm; 0 = off.", low=0)
    clip_value: float = checked_field(0.0, "Clip each element of the gradient; 0 = off.", low=0)
    max_epochs: float | None = checked_field(
        None, "Stop after this many passes over the training data.", low=0, high=1e6
    )
    max_steps: int | None = checked_field(None, "Stop after this many steps.", low=0, high=MAX_STEPS)
    max_minutes: float | None = checked_field(
        None, "Stop after this many minutes.", low=0, high=1e7, default_text="5, if no other budget is given"
    )
    patience: int = checked_field(
        0, "Stop after this many evaluations without an improvement; 0 = off.", low=0, high=MAX_STEPS
    )
    keep_best: str = checked_field(
        "loss",
        "Keep the weights with the lowest validation loss, or with the highest validation accuracy.",
        choices=("loss", "accuracy"),
        default_text="loss; for --task translate, transcribe and caption accuracy",
    )
    seed: int = checked_field(1, "Seed of all random generators.", low=0, high=2**63 - 1)
    workers: int | None = checked_field(
        None, "Processes that share each batch.", low=1, high=1024, default_text="the number of cores"
    )
    device: str = checked_field("cpu", "cpu (NumPy), torch (PyTorch on the CPU), cuda, cuda:N or mps.")
    precision: str = checked_field(
        "float32", "Precision of matrix products on a GPU: float32 or tf32.", choices=("float32", "tf32")
    )
    cache: bool = checked_field(
        True,
        "lm: store the ids of a corpus of more than 16 MB in a file in .cache, beside the runs, and not in memory. The "
        "file can be deleted at any time.",
    )
    val_limit: int | None = checked_field(
        None,
        "Symbols of the validation part that an evaluation scores, spread evenly over it; 0 = all.",
        low=0,
        high=MAX_STEPS,
        default_text="1,000,000, fewer for a short budget",
    )
    eval_every: int | None = checked_field(
        None,
        "Steps between evaluations.",
        low=1,
        high=MAX_STEPS,
        default_text="20 evaluations, fewer if they would take more than 4 % of the time",
    )
    save_every: int | None = checked_field(
        None,
        "Steps between saves.",
        low=1,
        high=MAX_STEPS,
        default_text="every 30 s and at each evaluation, for at most 5 % of the time",
    )
    sample_every: int | None = checked_field(
        None, "Steps between samples shown during training.", low=1, high=MAX_STEPS, default_text="never"
    )


@dataclass(frozen=True, kw_only=True)
class ResolvedTraining(TrainingOptions):
    """Training options after `training/defaults.py` has chosen a value for each option that needs one."""

    batch_size: int
    seq_length: int
    learning_rate: float
    dropout: float
    recurrent_dropout: float
    workers: int
    val_limit: int = 0

    @classmethod
    def from_options(cls, train: TrainingOptions) -> ResolvedTraining:
        """Converts training options. Raises ValueError if an option has no value."""
        values = train.to_dict()
        missing = [name for name in cls.__annotations__ if values[name] is None]
        if missing:
            raise ValueError(f"{missing[0]} has no value")
        return cls(**values)


@dataclass(frozen=True)
class SamplingOptions(CheckedFields):
    """How the next character is chosen from the model's distribution."""

    temperature: float = checked_field(
        0.7, "Divides the logits: lower is more predictable, higher more random; 0 = greedy.", low=0
    )
    top_k: int = checked_field(0, "Sample from the k most likely characters; 0 = all.", low=0)
    top_p: float = checked_field(
        1.0, "Sample from the most likely characters that together have this probability.", low=0, high=1
    )
    min_p: float = checked_field(
        0.0, "Exclude characters less likely than this fraction of the most likely one.", low=0, high=1
    )
    greedy: bool = checked_field(False, "Always take the most likely character.")


@dataclass(frozen=True)
class Origin(CheckedFields):
    """The checkpoint that a run was initialised from (`--init-from`), with its checksum at that time."""

    path: str
    sha256: str


@dataclass(frozen=True)
class RunConfig:
    """All options of a run: the content of `config.json`."""

    corpus: tuple[str, ...]
    model: ModelOptions
    data: DataOptions
    train: TrainingOptions
    init_from: Origin | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "corpus": list(self.corpus),
            "model": self.model.to_dict(),
            "data": self.data.to_dict(),
            "train": self.train.to_dict(),
            "init_from": self.init_from and self.init_from.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RunConfig:
        """Reads what `to_dict` wrote. Raises UsageError, KeyError or TypeError."""
        return cls(
            corpus=tuple(map(str, values["corpus"])),
            model=ModelOptions.from_dict(values["model"]),
            data=DataOptions.from_dict(values["data"]),
            train=TrainingOptions.from_dict(values["train"]),
            init_from=None if values.get("init_from") is None else Origin.from_dict(values["init_from"]),
        )

    @classmethod
    def from_options(cls, corpus: Sequence[str], options: dict[str, Any]) -> RunConfig:
        """Makes a configuration from the given options of `charrnn train`, by name. Raises UsageError.

        Paths become absolute, so that the run can be resumed from any directory.
        """
        check_exclusive(options)
        data = select_options(DataOptions, options)
        if data.features is not None and "task" not in options:
            data = dataclasses.replace(data, task="caption")
        _check_task_options(data, options)
        for name in ("val_file", "features"):
            if getattr(data, name) is not None:
                data = dataclasses.replace(data, **{name: os.path.abspath(getattr(data, name))})
        return cls(
            corpus=absolute_paths(corpus),
            model=select_options(ModelOptions, options),
            data=data,
            train=select_options(TrainingOptions, options),
        )

    def to_options(self) -> dict[str, Any]:
        """The options of `charrnn train` that give this configuration: the inverse of `from_options`."""
        options: dict[str, Any] = {"init_from": self.init_from and self.init_from.path}
        if self.init_from is None:
            options |= self.model.to_dict()
        options |= self.data.to_dict() | self.train.to_dict()
        if self.data.val_file is not None:
            del options["val_fraction"]
        if self.data.bytes:
            del options["encoding"], options["newline"], options["normalize"]
        unsupported = {name for name, tasks in TASK_OPTIONS.items() if self.data.task not in tasks}
        return {name: value for name, value in options.items() if value is not None and name not in unsupported}


def absolute_paths(paths: Sequence[str]) -> tuple[str, ...]:
    """The same paths, absolute; `-` is standard input and stays as it is."""
    return tuple(path if path == "-" else os.path.abspath(path) for path in paths)


def _check_task_options(data: DataOptions, options: dict[str, Any]) -> None:
    """Raises UsageError for an option that the task does not have."""
    for name, tasks in TASK_OPTIONS.items():
        if options.get(name) not in (None, getattr(DataOptions, name, None)) and data.task not in tasks:
            raise UsageError(f"{flag(name)} is an option of --task {tasks[0]}, not of {data.task}")
    if data.task == "caption" and data.features is None:
        raise UsageError("--task caption needs --features FILE", "one row of numbers for each line of text")
    if data.task == "caption" and data.val_file is not None:
        raise UsageError("--val-file is not supported with --features", "use --val-fraction")
    if data.task == "series" and data.val_file is not None:
        raise UsageError("--val-file is not supported for --task series, which is split by time", "use --val-fraction")
    if data.task == "series" and not data.target_history and not data.target:
        raise UsageError("--no-target-history needs --target")
    if data.task == "series" and options.get("embedding_size"):
        raise UsageError("--embedding-size is not supported for --task series, whose inputs are numbers")
    if data.document_separator == "":
        raise UsageError("--document-separator: the text is empty")
    if data.val_file is None and data.val_fraction + data.test_fraction >= 1:
        raise UsageError("--val-fraction and --test-fraction leave nothing to train on", "their sum must be below 1")
