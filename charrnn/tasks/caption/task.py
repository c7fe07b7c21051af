"""One to many: a line of text from a vector.

The vector is the source of an encoder, as a sequence of one step.
"""

from __future__ import annotations

from collections.abc import Sequence

from charrnn.options import DataOptions, RunConfig
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.caption.coding import CaptionCoding
from charrnn.tasks.caption.model import Captioner
from charrnn.tasks.caption.vectors import read_records
from charrnn.tasks.encoder_decoder.coding import SourceRecord
from charrnn.tasks.encoder_decoder.matrices import describe_record
from charrnn.tasks.encoder_decoder.task import SourceTask, fingerprint_records, read_parts


class CaptionTask(SourceTask):
    """Lines of text and their vectors to train on."""

    @classmethod
    def read(cls, config: RunConfig, source: Checkpoint | None = None) -> CaptionTask:
        """Reads and splits the files. source: see `--init-from`. Raises CorpusError, UsageError."""
        data = config.data
        features = data.features
        assert features is not None

        def read(paths: Sequence[str], data: DataOptions, notices: list[str]) -> list[SourceRecord]:
            return read_records(paths, features, data.encoding, notices)

        notices: list[str] = []
        parts, records, _ = read_parts(config, read, notices)
        coding = CaptionCoding.from_records(records, parts["train"], data, source)
        fingerprint = fingerprint_records([describe_record(record, "") for record in records])
        return cls(Captioner, coding, parts, fingerprint, notices)
