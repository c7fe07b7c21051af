"""Selects the columns to read: those that the user chose, or all but dates, an index and empty columns."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence

import numpy as np

from charrnn.corpus.reading import display_name
from charrnn.corpus.tables import Table, list_names
from charrnn.errors import CorpusError, UsageError
from charrnn.options import DataOptions

MIN_INDEX_ROWS = 5  # in fewer rows, numbers can rise by the same step by chance
INDEX_NAME = re.compile(r".*(time|date|index).*|id|no|nr|row|year|ds|column 1", re.IGNORECASE)


def check_same_columns(tables: Sequence[Table]) -> None:
    """Raises CorpusError if a table does not have the columns of the first one. Their order does not matter."""
    first = tables[0]
    for table in tables[1:]:
        for have, lack in ((first, table), (table, first)):
            missing = [name for name in have.names if name not in lack.names]
            if missing:
                problem = f"{display_name(lack.path)}: no column {missing[0]}, but {display_name(have.path)} has one"
                raise CorpusError(problem, f"--ignore {missing[0]} leaves it out, --columns chooses the columns")


def select_columns(tables: Sequence[Table], data: DataOptions, notices: list[str]) -> list[str]:
    """The columns to read, in the order of the first table, including the targets. Raises CorpusError, UsageError."""
    targets = data.target or []
    chosen = _parse_names(data.columns)
    ignored = _parse_names(data.ignore)
    for option, names in (("--target", targets), ("--columns", chosen), ("--ignore", ignored)):
        for name in names:
            if not any(name in table.names for table in tables):
                raise UsageError(f"{option} {name}: no such column", f"the columns are {list_names(tables[0].names)}")
            if names.count(name) > 1:
                raise UsageError(f"{option} {name}: given more than once")
            if name in targets and option == "--ignore":
                raise UsageError(f"--ignore {name}: this column is a --target")
    if chosen:
        names = [*chosen, *(name for name in targets if name not in chosen)]
        tables = [table.select_columns(names) for table in tables]
    else:
        tables = [table.select_columns([name for name in table.names if name not in ignored]) for table in tables]
    check_same_columns(tables)
    names = list(tables[0].names)
    if chosen:
        return names
    left_out = {}
    for name in names:
        if name not in targets and (reason := _useless_reason(name, tables)):
            left_out[name] = reason
    rest = [name for name in names if name not in left_out]
    labels = [name for name in targets if any(table.is_text(name) for table in tables)]
    not_inputs = labels if data.target_history else targets
    if set(rest[1:]) - set(not_inputs) and rest[0] not in targets and _is_index(rest[0], tables):
        left_out[rest[0]] = "an index"
    if left_out:
        parts = [f"{name} ({reason})" for name, reason in left_out.items()]
        notices.append(f"columns left out: {list_names(parts)}; --columns chooses the columns")
    rest = [name for name in names if name not in left_out]
    if not rest:
        raise CorpusError(f"{display_name(tables[0].path)}: no column of numbers")
    return rest


def _parse_names(text: str | None) -> list[str]:
    """Splits a list of names at its commas. A name that contains a comma must be in quotation marks."""
    return [] if text is None else [name.strip() for name in next(csv.reader([text]), [])]


def _useless_reason(name: str, tables: Sequence[Table]) -> str | None:
    """The reason why a column is left out, or None."""
    if all(table.is_date(name) for table in tables):
        return "dates or times"
    if not any(table.content(name).num_texts or np.isfinite(table.numbers_of(name)).any() for table in tables):
        return "no values"
    return None


def _is_index(name: str, tables: Sequence[Table]) -> bool:
    """Whether a column contains only row numbers or times.

    Such a column is the first one, and its numbers rise from row to row. Either they rise by the same step, or the name
    of the column is one such as `time`.
    """
    if any(table.names[0] != name or table.content(name).num_texts for table in tables):
        return False
    has_index_name = INDEX_NAME.fullmatch(name) is not None
    for table in tables:
        numbers = table.numbers_of(name)
        steps = np.diff(numbers)
        is_even = len(numbers) >= MIN_INDEX_ROWS and np.allclose(steps, steps[:1], rtol=1e-6, atol=0)
        if not (np.isfinite(numbers).all() and (steps > 0).all() and (is_even or has_index_name)):
            return False
    return True
