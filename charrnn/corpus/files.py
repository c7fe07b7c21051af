"""The files of a corpus."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from charrnn.errors import CorpusError, UsageError, format_count

DEFAULT_GLOB = "**/*.txt"


def find_files(paths: Sequence[str], glob: str | None) -> list[str]:
    """Replaces each directory by its files that match `glob`, in natural order: chapter-2 before chapter-10.

    Hidden files are left out. Raises CorpusError for a directory without such files, UsageError for an invalid `glob`.
    """
    if glob is not None and not any(map(os.path.isdir, paths)):
        raise UsageError(f"--glob {glob}: the corpus is not a directory")
    files: list[str] = []
    for path in paths:
        files += _files_in(path, DEFAULT_GLOB if glob is None else glob) if os.path.isdir(path) else [path]
    return files


def _files_in(directory: str, glob: str) -> list[str]:
    try:
        files = _visible_files(directory, glob)
    except (ValueError, NotImplementedError, IndexError) as error:
        raise UsageError(f"--glob {glob!r}: {error}") from None
    if not files:
        suffixes = Counter(Path(file).suffix for file in _visible_files(directory, "**/*"))
        remedy = "it contains no files"
        if suffixes:
            suffix, number = suffixes.most_common(1)[0]
            pattern = f"**/*{suffix}" if suffix else "**/*"
            remedy = f"--glob '{pattern}' matches {format_count(number, 'file')}"
        raise CorpusError(f"{directory}: a directory without files that match {glob}", remedy)
    return files


def _visible_files(directory: str, glob: str) -> list[str]:
    root = Path(directory)
    found = {file for file in root.glob(glob) if file.is_file()}
    visible = [file for file in found if not any(part.startswith(".") for part in file.relative_to(root).parts)]
    return [str(file) for file in sorted(visible, key=_natural_key)]


def _natural_key(file: Path) -> list[list[tuple[str, int]]]:
    """Sorts the numbers in names by their values: "part10.txt" -> [("part", 10), (".txt", 0)]."""
    return [[(text, int(number or 0)) for text, number in re.findall(r"(\D*)([0-9]*)", part)] for part in file.parts]
