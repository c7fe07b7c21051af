"""Text files, gzip files and standard input, read in chunks, so that memory is bounded."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import os
import stat
import sys
import zlib
from collections.abc import Iterator, Sequence
from io import BufferedReader

import numpy as np

from charrnn.corpus.vocabulary import smallest_uint
from charrnn.errors import CorpusError, UsageError
from charrnn.nn.arrays import Array
from charrnn.options import DataOptions

CHUNK_SIZE = 1 << 20  # bytes
# The unpacked size of a gzip file is limited to MAX_GZIP_RATIO times its packed size, or to MIN_GZIP_LIMIT if that is
# larger. Gzip compresses text by a factor of about 3, and repetitive text by a factor of up to 100.
MAX_GZIP_RATIO = 200
MIN_GZIP_LIMIT = 1 << 26  # bytes


def display_name(path: str) -> str:
    """The name of a file for messages."""
    return "standard input" if path == "-" else path


def read_codes(paths: Sequence[str], data: DataOptions, notices: list[str]) -> Iterator[Array]:
    """Yields the code points of some files in order, or their bytes, in arrays of the smallest unsigned type.

    Appends to `notices` if a file has CR LF line ends, which are kept, or a byte order mark, which is dropped. Raises
    CorpusError for a file that cannot be read or decoded, UsageError for an unknown encoding.
    """
    for path in paths:
        if data.bytes:
            with _open_file(path) as file:
                while chunk := file.read1(CHUNK_SIZE):
                    yield np.frombuffer(chunk, np.uint8)
            continue
        has_crlf = False
        last_character = ""
        for text in read_texts([path], data.encoding, notices):
            if not has_crlf and "\r\n" in last_character + text:
                has_crlf = True
                notices.append(
                    f"{display_name(path)}: lines end in CR LF; both are kept as characters "
                    "(tr -d '\\r' removes the CR characters)"
                )
            last_character = text[-1]
            codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
            yield codes.astype(smallest_uint(int(codes.max())))


def read_texts(paths: Sequence[str], encoding: str, notices: list[str]) -> Iterator[str]:
    """Yields the text of some files in order, in pieces that are not empty. Drops byte order marks (see read_codes)."""
    _check_encoding(encoding)
    for path in paths:
        with _open_file(path) as file:
            yield from _decode(file, display_name(path), encoding, notices)


def read_text(path: str) -> str:
    """The whole text of a UTF-8 file. Raises CorpusError."""
    return "".join(read_texts([path], "utf-8", []))


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


def _decode(file: BufferedReader | gzip.GzipFile, name: str, encoding: str, notices: list[str]) -> Iterator[str]:
    """Yields the text of one file in pieces that are not empty."""
    decoder = codecs.getincrementaldecoder(encoding)()
    chunk_start = 0  # position of the chunk in the file
    is_first = True
    while True:
        chunk = file.read1(CHUNK_SIZE)  # returns the bytes that a pipe has, without waiting for more
        num_undecoded = len(decoder.getstate()[0])  # bytes of an incomplete character at the end of the last chunk
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            position = chunk_start - num_undecoded + error.start
            byte = error.object[error.start] if error.start < len(error.object) else 0
            raise CorpusError(
                f"{name}: invalid {encoding} at byte {position} (0x{byte:02x})",
                "train with --encoding latin-1 or, for any file, --bytes; or convert it with iconv -f latin1 -t utf-8",
            ) from None
        except UnicodeError as error:
            problem = f"{name}: not {encoding}: {error}"
            raise CorpusError(problem, "try another --encoding, or --bytes for any file") from None
        chunk_start += len(chunk)
        if is_first and text:
            is_first = False
            if text.startswith("\ufeff"):
                text = text[1:]
                notices.append(f"{name}: dropped the byte order mark at the start")
        if text:
            yield text
        if not chunk:
            return
