"""Reading text: files, gzip files and standard input as chunks of code points, in bounded memory."""

from __future__ import annotations

import codecs
import gzip
import os
import stat
import sys
import zlib
from collections.abc import Iterator, Sequence
from io import BufferedReader

import numpy as np

from charrnn.errors import CorpusError, UsageError
from charrnn.nn.arrays import Array
from charrnn.options import DataOptions

CHUNK = 1 << 20  # bytes
BOMB_RATIO, BOMB_SIZE = 200, 1 << 26  # text compresses to a third, or to a hundredth when it repeats itself


def display_name(path: str) -> str:
    return "standard input" if path == "-" else path


def read_codes(paths: Sequence[str], config: DataOptions, notices: list[str]) -> Iterator[Array]:
    """The files' code points (or byte values) in order, as arrays of the smallest unsigned type that holds each.

    Appends to `notices` what the user should know. Raises CorpusError naming file, place and way out; UsageError for an
    unknown encoding.
    """
    try:
        b"x".decode(config.encoding)
    except UnicodeError:
        pass  # a text encoding, in which this is no text
    except (LookupError, ValueError, TypeError):
        raise UsageError(f"--encoding {config.encoding!a}: no such text encoding") from None
    for path in paths:
        name = display_name(path)
        try:
            with _open(path) as file:
                yield from _bytes(file) if config.bytes else _characters(file, name, config.encoding, notices)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise CorpusError(f"{name}: damaged gzip file: {error}") from None
        except OSError as error:
            raise CorpusError(f"{name}: {error.strerror or error}") from None


def read_text(path: str, encoding: str = "utf-8") -> str:
    """A whole text, for primes and scoring."""
    chunks = read_codes([path], DataOptions(encoding=encoding), [])
    return b"".join(chunk.astype("<u4").tobytes() for chunk in chunks).decode("utf-32-le", "surrogatepass")


def _open(path: str) -> BufferedReader | gzip.GzipFile:
    if path == "-":
        return open(sys.stdin.fileno(), "rb", closefd=False)
    file = open(path, "rb")  # noqa: SIM115 - the caller closes it
    kind = os.fstat(file.fileno()).st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISFIFO(kind)) and not os.path.samefile(path, f"/dev/fd/{sys.stdin.fileno()}"):
        file.close()
        raise CorpusError(f"{path}: a device, not a file", "files, pipes and standard input are read")
    return _Guarded(file) if path.endswith(".gz") else file


class _Guarded(gzip.GzipFile):
    """A gzip file that refuses to unpack a bomb."""

    def __init__(self, file: BufferedReader) -> None:
        super().__init__(fileobj=file)
        self.packed, self.limit = file, max(BOMB_SIZE, BOMB_RATIO * os.fstat(file.fileno()).st_size)

    def read1(self, size: int = -1) -> bytes:
        data = super().read1(size)
        if self.tell() > self.limit:
            raise CorpusError(
                f"{self.packed.name}: unpacks to over {BOMB_RATIO} times its size", "unpack it yourself if you trust it"
            )
        return data

    def close(self) -> None:
        super().close()
        self.packed.close()


def _bytes(file: BufferedReader | gzip.GzipFile) -> Iterator[Array]:
    while data := file.read1(CHUNK):
        yield np.frombuffer(data, np.uint8)


def _characters(file: BufferedReader | gzip.GzipFile, name: str, encoding: str, notices: list[str]) -> Iterator[Array]:
    decoder = codecs.getincrementaldecoder(encoding)()
    offset, first, seen_crlf, ended_cr = 0, True, False, False
    while True:
        data = file.read1(CHUNK)  # of a pipe, what there is
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            place = offset - pending + error.start
            byte = error.object[error.start] if error.start < len(error.object) else 0
            raise CorpusError(
                f"{name}: not {encoding} at byte {place} (0x{byte:02x})",
                "training takes --encoding latin-1, or --bytes for any file; iconv -f latin1 -t utf-8 converts one",
            ) from None
        except UnicodeError as error:
            raise CorpusError(
                f"{name}: not {encoding}: {error}", "try another --encoding, or --bytes for any file"
            ) from None
        offset += len(data)
        if first and text:
            first = False
            if text[0] == "\ufeff":
                text = text[1:]
                notices.append(f"{name}: dropped the byte order mark at the start")
        if text:
            if not seen_crlf and ("\r\n" in text or (ended_cr and text[0] == "\n")):
                seen_crlf = True
                notices.append(
                    f"{name}: lines end in CR LF; both are kept as characters (tr -d '\\r' takes the CR away)"
                )
            ended_cr = text[-1] == "\r"
            codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
            largest = int(codes.max())
            yield codes.astype(np.uint8 if largest < 2**8 else np.uint16 if largest < 2**16 else np.uint32)
        if not data:
            return
