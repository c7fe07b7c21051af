"""Text files, gzip files and standard input, read in chunks, so that memory is bounded."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import os
import stat
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from io import BufferedReader

import numpy as np

from charrnn.corpus.encodings import binary_format, encoding_advice, utf16_or_32
from charrnn.corpus.pieces import normalise, replace_in_pieces, split_for_normalising
from charrnn.corpus.vocabulary import DOCUMENT_END, Vocabulary, smallest_uint
from charrnn.errors import CorpusError, UsageError
from charrnn.nn.arrays import Array
from charrnn.options import DataOptions

BOM = "\ufeff"  # byte order mark
CHUNK_SIZE = 1 << 20  # bytes
MAX_TEXT_IN_MEMORY = 1 << 24  # bytes of the codes of a text; those of a larger text are stored in a file
SAMPLE_SIZE = 1 << 13  # bytes at the start of a file that show what kind of file it is
# The unpacked size of a gzip file is limited to MAX_GZIP_RATIO times its packed size, or to MIN_GZIP_LIMIT if that is
# larger. Gzip compresses text by a factor of about 3, and repetitive text by a factor of up to 100.
MAX_GZIP_RATIO = 200
MIN_GZIP_LIMIT = 1 << 26  # bytes


def display_name(path: str) -> str:
    """The name of a file for messages."""
    return "standard input" if path == "-" else path


class ByteReader:
    """Reads files as bytes, without any change."""

    def __init__(self) -> None:
        self.bytes_read = 0

    def codes(self, path: str) -> Iterator[Array]:
        """Yields the bytes of a file. Raises CorpusError."""
        with _open_file(path) as file:
            while chunk := file.read1(CHUNK_SIZE):
                self.bytes_read += len(chunk)
                yield np.frombuffer(chunk, np.uint8)

    def notices(self) -> list[str]:
        return []


class TextReader:
    """Reads text files: decodes them, drops byte order marks and translates line ends.

    Files that are not text, or not in the encoding, raise CorpusError with advice. No change is silent: `notices` names
    each kind of change and the files.
    """

    def __init__(
        self,
        encoding: str = "utf-8",
        *,
        newline: str | None = None,
        form: str = "none",
        separator: str | None = None,
    ) -> None:
        """newline: "lf" (CR LF and CR become LF) or "keep". None: as "lf", if --newline is not an option.
        form: the Unicode normal form of the text.
        separator: a text that is replaced by DOCUMENT_END.

        Raises UsageError for an unknown encoding.
        """
        _check_encoding(encoding)
        self.encoding = encoding
        self.newline = newline
        self.form = form
        self.separator = separator
        self.bytes_read = 0
        self._changes: dict[str, list[str]] = {}  # what was changed -> the names of the files

    def codes(self, path: str) -> Iterator[Array]:
        """Yields the code points of a file in arrays of the smallest unsigned type. Raises CorpusError."""
        for text in self.texts(path):
            codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
            yield codes.astype(smallest_uint(int(codes.max())))

    def texts(self, path: str) -> Iterator[str]:
        """Yields the text of a file in pieces that are not empty. Raises CorpusError."""
        pieces = self._original_texts(path)
        if self.form != "none":
            pieces = self._normalise(pieces, path)
        if self.separator is not None:
            pieces = replace_in_pieces(self._refuse_document_ends(pieces, path), self.separator, chr(DOCUMENT_END))
        return pieces

    def _normalise(self, pieces: Iterable[str], path: str) -> Iterator[str]:
        """Normalises a text. Notes a change."""
        is_changed = False
        for part in split_for_normalising(pieces):
            text = normalise(part, self.form)
            is_changed |= text != part
            yield text
        if is_changed:
            self._note(
                f"some characters were changed to the normal form {self.form} (--normalize none keeps them)", path
            )

    def _refuse_document_ends(self, pieces: Iterable[str], path: str) -> Iterator[str]:
        """Yields the same pieces. Raises CorpusError if DOCUMENT_END already occurs."""
        for piece in pieces:
            if chr(DOCUMENT_END) in piece:
                problem = f"{display_name(path)}: contains U+{DOCUMENT_END:04X}, which marks the end of a document"
                raise CorpusError(problem, "remove this character")
            yield piece

    def _original_texts(self, path: str) -> Iterator[str]:
        """Yields the text of a file with translated line ends."""
        line_ends = io.IncrementalNewlineDecoder(None, translate=self.newline != "keep")
        with _open_file(path) as file:
            for piece in self._decode(file, display_name(path)):
                if text := line_ends.decode(piece):
                    yield text
            if text := line_ends.decode("", final=True):
                yield text
        newlines = line_ends.newlines  # None, one kind, or a tuple of kinds
        kinds = newlines if isinstance(newlines, tuple) else (newlines,)
        names = [name for kind, name in (("\r\n", "CR LF"), ("\r", "CR")) if kind in kinds]
        if names and self.newline != "keep":
            hint = " (--newline keep keeps them)" if self.newline else ""
            self._note(f"line ends {' and '.join(names)} became LF{hint}", path)
        elif "CR LF" in names:
            self._note("line ends CR LF are kept as two characters", path)

    def notices(self) -> list[str]:
        """What was changed in the files that have been read, one message for each kind of change."""
        return [f"{name_files(names)}: {change}" for change, names in self._changes.items()]

    def _note(self, change: str, path: str) -> None:
        self._changes.setdefault(change, []).append(display_name(path))

    def _decode(self, file: BufferedReader | gzip.GzipFile, name: str) -> Iterator[str]:
        """Yields the text of a file, without its byte order mark, in pieces that are not empty."""
        decoder = codecs.getincrementaldecoder(self.encoding)()
        start = file.peek(SAMPLE_SIZE)[:SAMPLE_SIZE]
        self._check_start(start, name)
        is_first = True
        line, column = 1, 1  # of the next character
        while True:
            chunk = file.read1(CHUNK_SIZE)  # returns the bytes that a pipe has, without waiting for more
            self.bytes_read += len(chunk)
            state = decoder.getstate()
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                num_undecoded = len(state[0])  # bytes of an incomplete character at the end of the last chunk
                decoder.setstate(state)
                valid = decoder.decode(chunk[: max(0, error.start - num_undecoded)])
                line, column = _advance(valid.removeprefix(BOM) if is_first else valid, line, column)
                byte = error.object[error.start] if error.start < len(error.object) else 0
                problem = f"{name}, line {line}, column {column}: byte 0x{byte:02x} is not valid {self.encoding}"
                advice = encoding_advice(start, bytes(error.object), self.encoding)
                raise CorpusError(problem, advice) from None
            except UnicodeError as error:
                problem = f"{name}: not {self.encoding}: {error}"
                raise CorpusError(problem, encoding_advice(start, chunk, self.encoding)) from None
            if is_first and text:
                is_first = False
                if text.startswith(BOM):
                    text = text[1:]
                    self._note("dropped the byte order mark at the start", name)
            line, column = _advance(text, line, column)
            if text:
                yield text
            if not chunk:
                return

    def _check_start(self, start: bytes, name: str) -> None:
        """Raises CorpusError if the first bytes of a file show that it is not text in this encoding."""
        binary = binary_format(start)
        if binary is not None:
            kind, remedy = binary
            bytes_advice = "--bytes trains on the bytes of any file"
            raise CorpusError(f"{name}: {kind}, not text", f"{remedy}; {bytes_advice}" if remedy else bytes_advice)
        if utf16_or_32(start) and not codecs.lookup(self.encoding).name.startswith(("utf-16", "utf-32")):
            raise CorpusError(f"{name}: not {self.encoding}", encoding_advice(start, b"", self.encoding))


CodeReader = TextReader | ByteReader


def make_reader(data: DataOptions) -> CodeReader:
    """The reader for the files of a language model."""
    if data.bytes:
        return ByteReader()
    return TextReader(data.encoding, newline=data.newline, form=data.normalize, separator=data.separator)


def vocabulary_reader(vocabulary: Vocabulary) -> CodeReader:
    """The reader for the files that a model with this vocabulary reads."""
    if vocabulary.is_bytes:
        return ByteReader()
    newline = "keep" if "\r" in vocabulary else None
    return TextReader(newline=newline, form=vocabulary.form, separator=vocabulary.separator)


def read_text(path: str, vocabulary: Vocabulary) -> str:
    """The whole text of a file, as a model with this vocabulary reads it. Raises CorpusError.

    With a byte vocabulary, bytes that are not UTF-8 are escaped (see Vocabulary.decode).
    """
    reader = vocabulary_reader(vocabulary)
    return vocabulary.decode_codes(np.concatenate([np.empty(0, np.uint8), *reader.codes(path)]))


def _advance(text: str, line: int, column: int) -> tuple[int, int]:
    """The line and column after a text that begins at (line, column)."""
    num_line_feeds = text.count("\n")
    if num_line_feeds:
        return line + num_line_feeds, len(text) - text.rindex("\n")
    return line, column + len(text)


def name_files(names: Sequence[str]) -> str:
    """A description of files: the first name, and the number of the others if there are any."""
    others = len(names) - 1
    return names[0] if not others else f"{names[0]} and {others} other file{'s' if others > 1 else ''}"


def _check_encoding(encoding: str) -> None:
    try:
        b"x".decode(encoding)
    except UnicodeError:
        pass  # the encoding exists, but b"x" is not valid in it
    except (LookupError, ValueError, TypeError):
        raise UsageError(f"--encoding {encoding!a}: no such text encoding") from None


@contextlib.contextmanager
def _open_file(path: str) -> Iterator[BufferedReader | gzip.GzipFile]:
    """Opens a file. An error while the file is opened or read becomes a CorpusError."""
    name = display_name(path)
    try:
        with _open_binary(path) as file:
            yield file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CorpusError(f"{name}: damaged gzip file: {error}") from None
    except OSError as error:
        raise CorpusError(f"{name}: {error.strerror or error}") from None


def _open_binary(path: str) -> BufferedReader | gzip.GzipFile:
    if path == "-":
        return open(sys.stdin.fileno(), "rb", closefd=False)
    file = open(path, "rb")  # noqa: SIM115 - the caller closes it
    mode = os.fstat(file.fileno()).st_mode
    is_file_or_pipe = stat.S_ISREG(mode) or stat.S_ISFIFO(mode)
    if not is_file_or_pipe and not os.path.samestat(os.fstat(file.fileno()), os.fstat(sys.stdin.fileno())):
        file.close()
        raise CorpusError(f"{path}: a device, not a file", "only files, pipes and standard input can be read")
    return _LimitedGzipFile(file) if path.endswith(".gz") else file


class _LimitedGzipFile(gzip.GzipFile):
    """A gzip file that refuses to unpack to an implausible size (a decompression bomb)."""

    def __init__(self, file: BufferedReader) -> None:
        super().__init__(fileobj=file)
        self.packed_file = file
        self.limit = max(MIN_GZIP_LIMIT, MAX_GZIP_RATIO * os.fstat(file.fileno()).st_size)

    def read1(self, size: int = -1) -> bytes:
        data = super().read1(size)
        if self.tell() > self.limit:
            problem = f"{self.packed_file.name}: unpacks to over {MAX_GZIP_RATIO} times its size"
            raise CorpusError(problem, "unpack it yourself if you trust it")
        return data

    def close(self) -> None:
        super().close()
        self.packed_file.close()
