"""The common part of tasks whose records have a source and a target."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from charrnn.corpus.pairs import PairPass, PairStream, SourceRecords
from charrnn.corpus.reading import display_name
from charrnn.errors import CorpusError, UsageError, format_count
from charrnn.models.architecture import Architecture
from charrnn.models.transfer import initial_parameters
from charrnn.nn.arrays import Array
from charrnn.nn.losses import bits
from charrnn.nn.parameters import named_views
from charrnn.options import DataOptions, ModelOptions, RunConfig
from charrnn.runs.checkpoint import Checkpoint
from charrnn.runs.reports import Scores
from charrnn.tasks.encoder_decoder.coding import SourceCoding, SourceRecord
from charrnn.tasks.encoder_decoder.model import SourceModel
from charrnn.tasks.splitting import split_records

DEFAULT_BATCH_SIZES = (8, 32)  # lower and upper limit
MIN_BATCHES = 50  # per epoch; between the two limits, the default batch size is the largest with this many batches
DEFAULT_MAX_STEPS = 4096  # default upper limit of the steps of a source, and of a target


def read_parts(
    config: RunConfig, read: Callable[[Sequence[str], DataOptions, list[str]], list[SourceRecord]], notices: list[str]
) -> tuple[dict[str, list[SourceRecord]], list[SourceRecord], list[SourceRecord]]:
    """Reads and splits the files of a run.

    read: reads the records of some files, and appends its notices to a list. Returns the records of each
    part, the records of the corpus, and those of --val-file. Raises CorpusError.
    """
    data = config.data
    records = read(config.corpus, data, notices)
    names = ", ".join(map(display_name, config.corpus))
    if not records:
        raise CorpusError(f"{names}: no records")
    val_records = [] if data.val_file is None else read([data.val_file], data, notices)
    if data.val_file is not None and not val_records:
        raise CorpusError(f"{data.val_file}: no records to validate on")
    parts = split_records(records, data, config.train.seed, notices)
    if val_records:
        parts["val"] = val_records
    if not parts["train"]:
        raise CorpusError(f"{names}: no records left to train on", "lower --val-fraction or --test-fraction")
    return parts, records, val_records


def check_initial_task(source: Checkpoint, task: str) -> None:
    """Raises UsageError if the model given by --init-from was trained on another task."""
    if source.task["name"] != task:
        problem = f"--init-from: a model of --task {source.task['name']}"
        raise UsageError(f"{problem} cannot initialise a model of --task {task}")


class SourceTask:
    """Records with a source and a target to train on. See tasks.base.Task.

    parts: the records of the parts "train", "val" and "test".
    """

    def __init__(
        self,
        model_class: type[SourceModel],
        coding: SourceCoding,
        parts: dict[str, list[SourceRecord]],
        fingerprint: str,
        notices: list[str],
    ) -> None:
        self.model_class = model_class
        self.coding = coding
        self.defaults = coding.defaults
        self.parts = parts
        self.fingerprint = fingerprint
        self.notices = notices
        self.encoded = cache(lambda part: coding.records(parts[part]))

    @property
    def training_size(self) -> int:
        records = self.encoded("train")
        return int(records.source_lengths.sum() + records.target_lengths.sum())

    @property
    def vocabulary_size(self) -> int:
        return self.coding.target.size

    @property
    def has_validation(self) -> bool:
        return bool(self.parts["val"])

    def describe(self) -> str:
        train, val, test = (len(self.parts[part]) for part in ("train", "val", "test"))
        parts = f"{format_count(train, 'record')} to train on, {val:,} to validate, {test:,} to test"
        return f"corpus: {self.coding.describe()}, {parts}"

    def metadata(self) -> dict[str, Any]:
        return {"name": self.coding.name, **self.coding.to_dict()}

    def architecture(self, model: ModelOptions) -> Architecture:
        return self.coding.architecture(model)

    def initial_parameters(self, source: Checkpoint, architecture: Architecture, seed: int) -> Array:
        known = self.model_class(source).coding
        flat = initial_parameters(architecture, seed)
        target_ids = known.target.ids_in(self.coding.target)
        for name, view in named_views(architecture.specs(), flat).items():
            old = source.weights[name]
            match name:
                case "head.weight" | "head.bias" | "embedding.weight":
                    view[target_ids] = old
                case "rnn.weight_ih_l0" if architecture.reads_one_hot:
                    view[:, target_ids] = old
                case "source_embedding.weight":
                    view[known.source_ids_in(self.coding)] = old
                case "encoder.weight_ih_l0" | "encoder.weight_ih_l0_reverse" if architecture.source_is_one_hot:
                    view[:, known.source_ids_in(self.coding)] = old
                case _:
                    view[...] = old
        return flat

    def fit_batch(self, batch_size: int | None, seq_length: int | None) -> tuple[int, int]:
        """See Task. seq_length limits the steps of a source and of a target."""
        records = self.encoded("train")
        number = len(records)
        if batch_size is not None and batch_size > number:
            problem = f"--batch-size {batch_size}: there are only {number} records to train on"
            raise UsageError(problem, f"the largest that fits is {number}")
        longest = int(max(records.target_lengths.max(), records.source_lengths.max()))
        smallest, largest = DEFAULT_BATCH_SIZES
        fitted_size = batch_size or min(number, max(smallest, min(largest, number // MIN_BATCHES)))
        return fitted_size, seq_length or min(DEFAULT_MAX_STEPS, longest)

    def training_stream(self, batch_size: int, seq_length: int, seed: int) -> PairStream:
        return PairStream(self._shortened("train", seq_length), batch_size, seed)

    def validation_pass(self, batch_size: int, seq_length: int, limit: int = 0) -> PairPass | None:
        if not self.has_validation:
            return None
        return PairPass(self._shortened("val", seq_length), batch_size, limit)

    def window_notices(self, seq_length: int) -> list[str]:
        records = self.encoded("train")
        notices = []
        for kind, lengths in (("sources", records.source_lengths), ("targets", records.target_lengths)):
            longer = int((lengths > seq_length).sum())
            if longer:
                notices.append(f"{longer:,} {kind} are longer than {seq_length} steps and are truncated")
        return notices

    def scores(self, means: Array) -> Scores:
        loss, accuracy = means.tolist()
        return Scores(loss=loss, bpc=bits(loss), accuracy=accuracy)

    def preview(self, checkpoint: Checkpoint, seed: int) -> str:
        return self.model_class(checkpoint).preview(self.parts["val"] or self.parts["train"])

    def evaluate_test(self, checkpoint: Checkpoint) -> dict[str, Any] | None:
        return self.model_class(checkpoint).evaluate_records(self.parts["test"]) if self.parts["test"] else None

    def _shortened(self, part: str, seq_length: int) -> SourceRecords:
        """The records of a part, each cut to at most `seq_length` steps."""
        records = self.encoded(part)
        return SourceRecords(
            [source[:seq_length] for source in records.sources],
            [target[: seq_length - 1] for target in records.targets],
            records.end,
        )


def fingerprint_records(*parts: Sequence[tuple[str, bytes, str]]) -> str:
    """SHA-256 of records: name and content of the source, and target."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        for name, content, target in part:
            digest.update(f"{name}\t{target}\n".encode("utf-8", "surrogatepass"))
            digest.update(content)
    return digest.hexdigest()
