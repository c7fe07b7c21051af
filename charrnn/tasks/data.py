"""Writes data in memory to files in the format of `charrnn train`, so that the same code reads both."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from charrnn.errors import CorpusError
from charrnn.runs.files import write_atomically

FORMAT = {"columns": "1,2"}  # with this option, records are not mistaken for another format
# For each file the noun for a line in messages, and the number of the first such line.
PLACES = {"records.tsv": ("record", 1), "table.csv": ("row", 2)}
SEPARATORS = {"\t": "a tab", "\n": "a line feed", "\r": "a carriage return"}


class DataFiles(NamedTuple):
    """The file that data in memory were written to, and the options that it needs."""

    path: Path
    options: dict[str, Any]


@contextlib.contextmanager
def temporary_files(write: Callable[[Path, Any], DataFiles], data: Any) -> Iterator[DataFiles]:
    """Context manager that writes data to a temporary directory."""
    with tempfile.TemporaryDirectory(prefix="charrnn-") as name, naming_data(Path(name), "data"):
        yield write(Path(name), data)


@contextlib.contextmanager
def naming_data(folder: Path, name: str) -> Iterator[None]:
    """Context manager that replaces the places in files of the folder by places in the data, in the messages of
    CorpusErrors: `FOLDER/table.csv, line 3` becomes `data, row 2`."""

    def rename(match: re.Match[str]) -> str:
        file, line = match.groups()
        if line is None:
            return name
        noun, first_line = PLACES.get(file, ("line", 1))
        return f"{name}, {noun} {int(line) - first_line + 1}"

    try:
        yield
    except CorpusError as error:
        path = rf"{re.escape(os.path.abspath(folder))}[/\\]([\w.]+)(?:, line (\d+))?"
        raise CorpusError(re.sub(path, rename, error.message), error.hint) from None


def write_text(folder: Path, data: Any) -> DataFiles:
    """Writes a text, bytes, or a list of lines."""
    if isinstance(data, bytes):
        return DataFiles(_write(folder / "text.bin", data), {"bytes": True})
    if isinstance(data, str):
        return DataFiles(_write(folder / "text.txt", _encode(data)), {})
    lines = [_checked_text(line, f"line {number}", "\n") for number, line in enumerate(_items(data, "lines"), 1)]
    return DataFiles(_write(folder / "lines.txt", _encode("".join(f"{line}\n" for line in lines))), {"lines": True})


def write_pairs(folder: Path, data: Any) -> DataFiles:
    """Writes pairs of a text and an output."""
    records = list(_pairs(data, "(text, output)"))
    lines = [
        f"{_checked_text(source, f'{place}, text')}\t{_checked_text(output, f'{place}, output')}\n"
        for place, source, output in records
    ]
    return DataFiles(_write(folder / "records.tsv", _encode("".join(lines))), FORMAT)


def write_matrix_pairs(folder: Path, data: Any) -> DataFiles:
    """Writes pairs of a matrix (T, D) and a text, each matrix as a file of its own."""
    lines = []
    for number, (place, matrix, text) in enumerate(_pairs(data, "(matrix, text)")):
        name = f"{number:05d}.npy"
        _write(folder / name, _encode_array(matrix, 2, place))
        lines.append(f"{name}\t{_checked_text(text, f'{place}, text')}\n")
    return DataFiles(_write(folder / "records.tsv", _encode("".join(lines))), FORMAT)


def write_vector_pairs(folder: Path, data: Any) -> DataFiles:
    """Writes pairs of a vector (D,) and a text: the texts as lines, and the vectors as a matrix."""
    texts = []
    vectors = []
    for place, vector, text in _pairs(data, "(vector, text)"):
        vectors.append(number_array(vector, 1, place))
        texts.append(f"{_checked_text(text, f'{place}, text', chr(10))}\n")
        if len(vectors[-1]) != len(vectors[0]):
            raise CorpusError(f"{place}: a vector of {len(vectors[-1])} numbers; the first one has {len(vectors[0])}")
    features = _write(folder / "features.npy", _encode_array(np.array(vectors), 2, "data"))
    return DataFiles(_write(folder / "lines.txt", _encode("".join(texts))), {"features": str(features)})


def write_table(folder: Path, data: Any) -> DataFiles:
    """Writes a table as CSV: a pandas frame, a dict of columns, or an array whose columns are named x0, x1 ..."""
    columns = table_columns(data)
    lengths = {len(cells) for cells in columns.values()}
    if len(lengths) != 1:
        raise CorpusError("data: the columns of a table must have the same length", "at least one column is needed")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return DataFiles(_write(folder / "table.csv", _encode(text.getvalue())), {})


def table_columns(data: Any) -> dict[str, list[str]]:
    """The cells of a table as text, by column. A missing value is an empty cell."""
    if not hasattr(data, "items"):
        array = number_array(data, (1, 2), "data")
        data = {f"x{n}": column for n, column in enumerate(array.reshape(len(array), -1).T)}
    elif not hasattr(data, "columns") and not isinstance(data, dict):  # a pandas series
        data = {getattr(data, "name", None) or "x0": data}
    return {str(name): [_cell(value) for value in _column(values)] for name, values in data.items()}


def _column(values: Any) -> list[Any]:
    """The values of a column. Times become texts such as 2026-11-28T14:30:00, durations become seconds."""
    array = np.asarray(values)
    if array.dtype.kind == "M":
        texts = np.datetime_as_string(array.astype("datetime64[s]")).tolist()
        return [None if text == "NaT" else text for text in texts]
    if array.dtype.kind == "m":
        return [float(seconds) for seconds in array / np.timedelta64(1, "s")]
    return list(array.tolist())


def _cell(value: Any) -> str:
    """A number with all its digits, or a text. None and NaN are missing values."""
    return "" if value is None or value != value else repr(value) if isinstance(value, float) else str(value)


def _items(data: Any, expected: str) -> list[Any]:
    if isinstance(data, str | bytes) or not isinstance(data, Iterable):
        raise CorpusError(f"data: {type(data).__name__} is not a list of {expected}")
    return list(data)


def _pairs(data: Any, expected: str) -> Iterator[tuple[str, Any, Any]]:
    """Yields the place of each record for messages, its source and its output."""
    for number, pair in enumerate(_items(data, f"pairs {expected}"), 1):
        if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
            raise CorpusError(f"data, record {number}: not a pair {expected}", "zip(sources, outputs) makes pairs")
        yield f"data, record {number}", *pair


def _checked_text(text: Any, place: str, forbidden: Iterable[str] = SEPARATORS) -> str:
    if not isinstance(text, str):
        raise CorpusError(f"{place}: {type(text).__name__} {text!r} is not a text", "convert it with str()")
    for character in forbidden:
        if character in text:
            hint = "records are stored as lines with a tab; replace it"
            raise CorpusError(f"{place}: contains {SEPARATORS[character]}", hint)
    return text


def number_array(values: Any, dimensions: int | tuple[int, ...], place: str) -> Any:
    """An array of numbers. Raises CorpusError if it has another number of dimensions."""
    allowed = (dimensions,) if isinstance(dimensions, int) else dimensions
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise CorpusError(f"{place}: not an array of numbers") from None
    if array.ndim not in allowed:
        expected = " or ".join(map(str, allowed))
        raise CorpusError(f"{place}: an array of shape {array.shape}", f"it must have {expected} dimensions")
    return array


def _encode_array(values: Any, dimensions: int, place: str) -> bytes:
    data = io.BytesIO()
    np.save(data, number_array(values, dimensions, place), allow_pickle=False)
    return data.getvalue()


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        character = error.object[error.start]
        raise CorpusError(f"data: contains {character!a}, which UTF-8 cannot encode") from None


def _write(path: Path, data: bytes) -> Path:
    write_atomically(path, data)
    return path
