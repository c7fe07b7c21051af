"""Reads the files of a text as ids. The ids of a large text are stored in a cache file, which is mapped into memory.

The files are read once. Their codes (code points or bytes) are kept in memory, or in a temporary file without a name if
they need more than MAX_TEXT_IN_MEMORY bytes. After the last file, all symbols are known, and the codes are converted to
ids chunk by chunk. A cache file contains

    free element | ids of the corpus | free element | ids of the validation file | description | its length, 8 bytes

The description is JSON. Each part of a text begins with the start symbol. Therefore a part is a private mapping of the
file, in which the start symbol replaces the element before the part. The file itself is never changed. It can be
deleted at any time.
"""

from __future__ import annotations

import bisect
import contextlib
import hashlib
import json
import os
import secrets
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

import numpy as np

from charrnn.corpus.reading import MAX_TEXT_IN_MEMORY, CodeReader, display_name, make_reader, name_files
from charrnn.corpus.vocabulary import DOCUMENT_END, LINE_FEED, Vocabulary, smallest_uint
from charrnn.errors import StorageError
from charrnn.nn.arrays import Array
from charrnn.options import DataOptions
from charrnn.runs.directory import runs_root
from charrnn.runs.files import PARSE_ERRORS, TEMPORARY_FILES, dump_json
from charrnn.system import replace_file, sync_file

BLOCK = 1 << 20  # ids that are converted at once
FORMAT = 1  # of cache files
SUFFIX = ".ids"
LENGTH_BYTES = 8
READING_SHARE = 0.7  # share of reading in the time until the ids are written
ABANDONED_SECONDS = 3600  # age at which a temporary file belongs to a process that was killed

Report = Callable[[float, int], None]  # is called with the share of the work that is done, and the symbols read so far
_report: ContextVar[Report | None] = ContextVar("report", default=None)


@contextlib.contextmanager
def reporting(report: Report) -> Iterator[None]:
    """Context manager in which the reading of a large text calls `report` after each chunk."""
    token = _report.set(report)
    try:
        yield
    finally:
        _report.reset(token)


def _call_report(share: float, symbols: int) -> None:
    report = _report.get()
    if report is not None:
        report(share, symbols)


def cache_directory() -> Path:
    return runs_root() / ".cache"


@dataclass(frozen=True)
class Text:
    """The ids of a corpus and of its validation file."""

    vocabulary: Vocabulary
    stored: Array  # free element, ids of the corpus, free element, ids of the validation file
    length: int  # of the corpus
    val_length: int  # of the validation file
    starts: Array  # the places of the first id of each file of the corpus but the first
    notices: list[str]
    fingerprint: str  # SHA-256 of the vocabulary, the ids and the starts
    # (n, number of start symbols among the first n ids of the corpus), ascending. Only for a text in a file.
    start_symbols: list[tuple[int, int]]
    file: IO[bytes] | None = None  # contains `stored`

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.file is not None:
            self.file.close()

    @property
    def ids(self) -> Array:
        """The ids of the corpus (N,)."""
        return self.stored[1 : 1 + self.length]

    def part(self, start: int, stop: int) -> Array:
        """The ids from `start` to `stop` after the start symbol. Empty if there are no ids."""
        return self._part(start, stop - start)

    def val_part(self) -> Array:
        """The ids of the validation file after the start symbol. Empty if there are no ids."""
        return self._part(self.length + 1, self.val_length)

    def _part(self, before: int, size: int) -> Array:
        """A part of `size` ids. before: the place of the element before it."""
        if not size:
            return self.stored[:0]
        part: Array
        if self.file is None:
            part = self.stored[before : before + size + 1].copy()
        else:
            part = _map(self.file, self.stored.dtype, size + 1, before)
        part[0] = self.vocabulary.start
        return part

    def count_start_symbols(self, stop: int) -> int | None:
        """The number of start symbols among the first `stop` ids. None for a text in memory: TextStream counts them."""
        if self.file is None:
            return None
        nearest, count = self.start_symbols[bisect.bisect_right(self.start_symbols, stop, key=lambda item: item[0]) - 1]
        return count + int(np.count_nonzero(self.ids[nearest:stop] == self.vocabulary.start))


def read_text(paths: Sequence[str], data: DataOptions, *, cache: bool = True) -> Text:
    """Reads and joins text files. Raises CorpusError, UsageError and StorageError.

    cache: whether a large text is stored in a cache file. Otherwise all texts are kept in memory.
    """
    name = _cache_name(paths, data) if cache else None
    if name is not None and (text := _open_cached(cache_directory() / name, data)):
        return text
    directory = cache_directory() if cache else None
    reader = make_reader(data)
    file_end = LINE_FEED if data.separator is None else DOCUMENT_END
    val_paths = [data.val_file] if data.val_file else []
    total = None if name is None else _total_size([*paths, *val_paths])
    with Codes(directory) as corpus, Codes(directory) as val_file:
        corpus.read(paths, reader, file_end, total)
        val_file.read(val_paths, reader, file_end, total)
        notices = reader.notices()
        if corpus.without_end and data.separator is None:
            names = name_files(list(map(display_name, corpus.without_end)))
            notices.append(f"{names}: no line feed at the end; one is added before the next file")
        codes = np.flatnonzero(corpus.is_used | val_file.is_used).astype(np.uint32)
        vocabulary = _make_vocabulary(codes, data)
        if corpus.is_spooled or val_file.is_spooled:
            is_unchanged = name == _cache_name(paths, data)
            return _write_text(corpus, val_file, vocabulary, notices, data, name if is_unchanged else None)
        stored = np.empty(corpus.length + val_file.length + 2, smallest_uint(max(len(vocabulary) - 1, 0)))
        place = 0

        def store(ids: Array) -> None:
            nonlocal place
            stored[place : place + len(ids)] = ids
            place += len(ids)

        fingerprint, _ = _encode(corpus, val_file, vocabulary, store)
        return Text(vocabulary, stored, corpus.length, val_file.length, corpus.file_starts(), notices, fingerprint, [])


class Codes:
    """The codes of some files, joined. If they are many, they are in a temporary file without a name."""

    def __init__(self, directory: Path | None) -> None:
        """directory: of the temporary file. None: all codes are kept in memory."""
        self.directory = directory
        self.length = 0
        self.without_end: list[str] = []  # the files that did not end in `file_end`, so that it was added
        self.is_used = np.zeros(0x110000, bool)  # whether each code occurs
        self._starts: list[int] = []
        self._chunks: list[Array] = []
        self._num_bytes = 0
        self._file: IO[bytes] | None = None
        self._spooled: list[tuple[np.dtype[Any], int]] = []  # type and length of the chunks in the file

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def __iter__(self) -> Iterator[Array]:
        """Yields the codes in chunks."""
        if self._file is not None:
            self._file.seek(0)
            for dtype, length in self._spooled:
                yield np.frombuffer(self._file.read(length * dtype.itemsize), dtype)
        yield from self._chunks

    @property
    def is_spooled(self) -> bool:
        return self._file is not None

    def read(self, paths: Sequence[str], reader: CodeReader, file_end: int, total: int | None) -> None:
        """Reads and joins files. A file that does not end in `file_end` gets it if another file follows.

        total: the number of bytes of all files, for reports of the progress. None: unknown.
        """
        previous = ""
        last = file_end
        for path in paths:
            if self.length:
                if last != file_end:
                    self.without_end.append(previous)
                    self._append(np.array([file_end], np.uint32))
                self._starts.append(self.length)
            for chunk in reader.codes(path):
                self._append(chunk)
                last = int(chunk[-1])
                previous = path
                if self.is_spooled:
                    share = 0.0 if not total else min(1.0, reader.bytes_read / total)
                    _call_report(share * READING_SHARE, self.length)

    def file_starts(self) -> Array:
        """The places of the first code of each file but the first."""
        return np.unique(np.array([start for start in self._starts if start < self.length], np.int64))

    def _append(self, chunk: Array) -> None:
        self.is_used[chunk] = True
        self.length += len(chunk)
        self._chunks.append(chunk)
        self._num_bytes += chunk.nbytes
        if self.directory is not None and self._num_bytes > MAX_TEXT_IN_MEMORY:
            with _writing(self.directory):
                self._spool(self.directory)

    def _spool(self, directory: Path) -> None:
        """Moves the chunks in memory to the file."""
        if self._file is None:
            self._file = _temporary_file(directory)
        for chunk in self._chunks:
            self._file.write(chunk.data)
            self._spooled.append((chunk.dtype, len(chunk)))
        self._file.flush()
        self._chunks = []


def _encode(
    corpus: Codes, val_file: Codes, vocabulary: Vocabulary, write: Callable[[Array], Any]
) -> tuple[str, list[tuple[int, int]]]:
    """Writes the elements of Text.stored in chunks. Returns Text.fingerprint and Text.start_symbols."""
    free = np.zeros(1, smallest_uint(max(len(vocabulary) - 1, 0)))
    total = corpus.length + val_file.length
    starts = corpus.file_starts()
    digest = hashlib.sha256(vocabulary.codes.astype("<u4").tobytes())
    start_symbols = [(0, 0)]
    done = 0

    def write_section(codes: Codes) -> Iterator[Array]:
        nonlocal done
        digest.update(codes.length.to_bytes(8, "little"))
        write(free)
        for chunk in codes:
            ids = vocabulary.codes_to_ids(chunk)
            digest.update(ids.data)
            write(ids)
            yield ids
            done += len(ids)
            if corpus.is_spooled or val_file.is_spooled:
                _call_report(READING_SHARE + (1 - READING_SHARE) * done / total, total)

    for ids in write_section(corpus):
        place, count = start_symbols[-1]
        start_symbols.append((place + len(ids), count + int(np.count_nonzero(ids == vocabulary.start))))
    digest.update(len(starts).to_bytes(8, "little"))
    digest.update(starts.data)
    for _ in write_section(val_file):
        pass
    return digest.hexdigest(), start_symbols


def _write_text(
    corpus: Codes, val_file: Codes, vocabulary: Vocabulary, notices: list[str], data: DataOptions, name: str | None
) -> Text:
    """Stores a text in a cache file. Without a name, the file exists only as long as it is in use."""
    directory = cache_directory()

    def write(file: IO[bytes]) -> None:
        fingerprint, start_symbols = _encode(corpus, val_file, vocabulary, lambda ids: file.write(ids.data))
        values = {
            "codes": vocabulary.codes.tolist(),
            "length": corpus.length,
            "val_length": val_file.length,
            "starts": corpus.file_starts().tolist(),
            "notices": notices,
            "fingerprint": fingerprint,
            "start_symbols": start_symbols,
        }
        description = dump_json(values).encode()
        file.write(description)
        file.write(len(description).to_bytes(LENGTH_BYTES, "little"))
        file.flush()

    with _writing(directory):
        if name is None:
            unnamed = _temporary_file(directory)
            write(unnamed)
            return _parse_text(unnamed, data)
        _remove_outdated(directory, name)
        temporary = directory / f".{secrets.token_hex(8)}.tmp"
        try:
            with open(temporary, "wb") as file:
                write(file)
                sync_file(file.fileno())
            # Windows cannot replace a file that another process uses. If that process wrote it, it has the same text.
            if (text := _open_cached(directory / name, data)) is not None:
                return text
            replace_file(temporary, directory / name)
        finally:
            temporary.unlink(missing_ok=True)
        return _parse_text(open(directory / name, "rb"), data)


def _remove_outdated(directory: Path, name: str) -> None:
    """Deletes the cache files of earlier versions of a corpus, and temporary files of processes that were killed."""
    outdated = [path for path in directory.glob(f"{name.partition('-')[0]}-*{SUFFIX}") if path.name != name]
    limit = time.time() - ABANDONED_SECONDS
    for path in [*outdated, *directory.glob(TEMPORARY_FILES)]:
        with contextlib.suppress(OSError):  # another process has deleted the file or, on Windows, uses it
            if path in outdated or path.stat().st_mtime < limit:
                path.unlink()


def _open_cached(path: Path, data: DataOptions) -> Text | None:
    """The text in a cache file. None if the file does not exist or is damaged."""
    try:
        file = open(path, "rb")  # noqa: SIM115 - Text closes it
    except OSError:
        return None
    try:
        return _parse_text(file, data)
    except (OSError, *PARSE_ERRORS):
        file.close()
        return None


def _parse_text(file: IO[bytes], data: DataOptions) -> Text:
    """The text in an open cache file. Raises one of PARSE_ERRORS if it is damaged."""
    end = file.seek(-LENGTH_BYTES, os.SEEK_END)
    length = int.from_bytes(file.read(LENGTH_BYTES), "little")
    stored_bytes = file.seek(end - length)
    values = json.loads(file.read(length))
    vocabulary = _make_vocabulary(np.array(values["codes"], np.uint32), data)
    dtype = np.dtype(smallest_uint(max(len(vocabulary) - 1, 0)))
    num_stored = values["length"] + values["val_length"] + 2
    if num_stored * dtype.itemsize != stored_bytes:
        raise ValueError("the size of the file does not match its description")
    return Text(
        vocabulary,
        _map(file, dtype, num_stored),
        values["length"],
        values["val_length"],
        np.array(values["starts"], np.int64),
        values["notices"],
        values["fingerprint"],
        [(place, count) for place, count in values["start_symbols"]],
        file,
    )


def recode_to_file(ids: Array, new_ids: Array) -> Array:
    """`new_ids[ids]` in a temporary file without a name, which is mapped into memory. Raises StorageError."""
    directory = cache_directory()
    with _writing(directory), _temporary_file(directory) as file:
        for start in range(0, len(ids), BLOCK):
            file.write(new_ids[ids[start : start + BLOCK]].data)
        file.flush()
        return _map(file, new_ids.dtype, len(ids))


def _map(file: IO[bytes], dtype: np.dtype[Any], length: int, start: int = 0) -> Array:
    """Elements of a file. They can be changed in memory; the file does not change."""
    mapped = np.memmap(file, dtype, "c", start * dtype.itemsize, length)
    return np.asarray(mapped)


def _make_vocabulary(codes: Array, data: DataOptions) -> Vocabulary:
    return Vocabulary(codes, data.bytes, "none" if data.bytes else data.normalize, data.separator)


def _cache_name(paths: Sequence[str], data: DataOptions) -> str | None:
    """The name of the cache file of a text. It depends on the paths and the text options, and on the sizes and times of
    the files. None if a file is a pipe or does not exist."""
    paths = [*paths, *([data.val_file] if data.val_file else [])]
    states = []
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            return None  # the reader raises an error for this file
        if path == "-" or not stat.S_ISREG(status.st_mode):
            return None
        states.append((status.st_size, status.st_mtime_ns))
    options = (data.bytes, data.encoding, data.newline, data.normalize, data.separator, data.val_file)
    identity = (FORMAT, list(map(os.path.abspath, paths)), options)
    return f"{_hash(identity)}-{_hash(states)}{SUFFIX}"


def _hash(value: object) -> str:
    return hashlib.sha256(repr(value).encode("utf-8", "backslashreplace")).hexdigest()[:16]


def _total_size(paths: Sequence[str]) -> int | None:
    """The number of bytes that will be read from some files. None: unknown."""
    return None if any(path.endswith(".gz") for path in paths) else sum(map(os.path.getsize, paths))


def _temporary_file(directory: Path) -> IO[bytes]:
    """A new file without a name. The system deletes it when it is no longer in use."""
    directory.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryFile(dir=directory)


@contextlib.contextmanager
def _writing(directory: Path) -> Iterator[None]:
    """Context manager in which an OSError becomes a StorageError."""
    try:
        yield
    except OSError as error:
        problem = f"cannot write {directory}: {error.strerror or error}"
        hint = "free some space, set CHARRNN_RUNS to another disk, or keep the text in memory with --no-cache"
        raise StorageError(problem, hint) from None
