"""Reads the files of the task `translate`: one record per line, `source<TAB>target`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from charrnn.corpus.record_files import read_records
from charrnn.errors import UsageError
from charrnn.options import DataOptions, RunConfig
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.encoder_decoder.coding import SourceRecord
from charrnn.tasks.encoder_decoder.symbols import Symbols
from charrnn.tasks.encoder_decoder.task import SourceTask, check_initial_task, fingerprint_records, read_parts
from charrnn.tasks.translate.coding import TextPairCoding
from charrnn.tasks.translate.model import Translator

MANY_RECORDS = 30_000  # from this number on, LSTM layers are better than GRU layers; see tests/benchmarks/README.md
MIN_REDUCTION = 4  # sources are decomposed if this makes their vocabulary smaller by more than this factor


class TranslateTask(SourceTask):
    """Pairs of texts to train on."""

    @classmethod
    def read(cls, config: RunConfig, source: Checkpoint | None = None) -> TranslateTask:
        """Reads and splits the files. source: see `--init-from`. Raises CorpusError, UsageError."""
        data = config.data
        notices: list[str] = []
        parts, records, val_records = read_parts(config, read_pairs, notices)
        known = None
        if source is not None:
            check_initial_task(source, TextPairCoding.name)
            known = source.parse_task(TextPairCoding.from_dict)
        coding = make_coding(
            [*records, *val_records], data.source_separator, data.target_separator, known, data.normalize
        )
        fingerprint = fingerprint_records(
            *([(record.source, b"", record.target) for record in part] for part in (records, val_records))
        )
        task = cls(Translator, coding, parts, fingerprint, notices)
        if len(parts["train"]) >= MANY_RECORDS:
            task.defaults = replace(task.defaults, cell="lstm")
        return task


def read_pairs(paths: Sequence[str], data: DataOptions, notices: list[str]) -> list[SourceRecord]:
    """The records of some files. Raises CorpusError for a line that is not a record."""
    return [SourceRecord(record.text, record.output) for record in read_records(paths, data, notices)]


def make_coding(
    records: list[SourceRecord],
    source_separator: str | None,
    target_separator: str | None,
    known: TextPairCoding | None = None,
    form: str = "none",
) -> TextPairCoding:
    """Makes a coding for some records, in a Unicode normal form, that includes the coding `known`.

    Raises UsageError if a separator does not occur in the records.
    """
    sources = [record.source for record in records]
    targets = [record.target for record in records]
    for option, separator, texts in (
        ("--source-separator", source_separator, sources),
        ("--target-separator", target_separator, targets),
    ):
        if separator is not None and not any(separator in text for text in texts):
            raise UsageError(f"{option} {separator!r}: does not occur in any record")
    target = Symbols.from_texts(targets, target_separator, None if known is None else known.target, form)
    longest = max(len(target.split(text)) for text in targets)
    return TextPairCoding(
        source=_source_symbols(sources, source_separator, form, None if known is None else known.source),
        target=target,
        longest=max(1, longest if known is None else max(longest, known.longest)),
    )


def _source_symbols(texts: list[str], separator: str | None, form: str, known: Symbols | None) -> Symbols:
    """Makes the vocabulary of the sources.

    Characters are decomposed if this makes the vocabulary much smaller. Then the network can read syllables that the
    training data do not contain. For example, 11,172 Korean syllables consist of 67 letters.
    """
    if known is not None:
        return Symbols.from_texts(texts, separator, known, known.form)
    symbols = Symbols.from_texts(texts, separator, form=form)
    if form == "NFC":
        decomposed = Symbols.from_texts(texts, separator, form="NFD")
        if symbols.size > MIN_REDUCTION * decomposed.size:
            return decomposed
    return symbols
