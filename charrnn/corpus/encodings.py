"""Recognises the format or encoding of a file that is not text in the given encoding. The result is only advice."""

from __future__ import annotations

import codecs
import re

BINARY_FORMATS = (  # the first bytes of files that are not text, the name of the format, and a remedy
    (b"\x1f\x8b\x08", "a gzip file", "gunzip it, or name it .gz"),
    (b"PK\x03\x04", "a zip file (such as .docx, .odt, .xlsx or .epub)", "save its content as plain text"),
    (b"%PDF-", "a PDF document", "extract its text: pdftotext FILE"),
    (b"\xd0\xcf\x11\xe0", "an Office document", "save its content as plain text"),
    (b"BZh91AY&SY", "a bzip2 file", "unpack it: bunzip2 FILE"),
    (b"\xfd7zXZ\x00", "an xz file", "unpack it: unxz FILE"),
    (b"\x28\xb5\x2f\xfd", "a zstd file", "unpack it: unzstd FILE"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it"),
    (b"\x89PNG\r\n", "a PNG image", ""),
    (b"\xff\xd8\xff", "a JPEG image", ""),
    (b"GIF8", "a GIF image", ""),
    (b"\x93NUMPY", "a NumPy array", ""),
    (b"SQLite format 3\x00", "an SQLite database", "export its text"),
    (b"PAR1", "a Parquet file", "export its text"),
    (b"\x7fELF", "a program", ""),
)
BYTE_ORDER_MARKS = (  # UTF-32 first, because its mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
MIN_NUL_SHARE = 0.2  # of all bytes of a text in UTF-16 without a byte order mark; other texts contain no NUL
MAX_ACCENT_SHARE = 0.3  # largest share of bytes that are not ASCII among the letters of a Western European text
CP1252_UNDEFINED = b"\x81\x8d\x8f\x90\x9d"
# Punctuation and capitals of cp1252 inside a word. Older encodings (mac-roman, cp850) have accented letters there.
CP1252_IMPLAUSIBLE = re.compile(rb"[a-z][\x80\x82-\x8c\x8e\x91\x93-\x95\x98\x99\x9b\x9f](?=[a-z])")
MAX_IMPLAUSIBLE_SHARE = 0.1  # largest share of matches of CP1252_IMPLAUSIBLE among the bytes 0x80 to 0x9f


def binary_format(start: bytes) -> tuple[str, str] | None:
    """The name of a format that is not text, and a remedy, by the first bytes of a file. None for any other file."""
    return next(((name, remedy) for magic, name, remedy in BINARY_FORMATS if start.startswith(magic)), None)


def utf16_or_32(start: bytes) -> str | None:
    """The encoding of a text without a byte order mark in which at least a fifth of the bytes are NUL, else None.

    In UTF-16, an ASCII character is a byte and a NUL. In UTF-32-LE, the text "ab" is a 0 0 0 b 0 0 0.
    """
    if len(start) < 4 or start.count(0) < MIN_NUL_SHARE * len(start):
        return None
    nuls = [start[place::4].count(0) for place in range(4)]
    quarter = len(start) / 4
    if nuls[2] > 0.9 * quarter and nuls[3] > 0.9 * quarter:
        return "utf-32-le"
    if nuls[0] > 0.9 * quarter and nuls[1] > 0.9 * quarter:
        return "utf-32-be"
    even, odd = nuls[0] + nuls[2], nuls[1] + nuls[3]
    if max(even, odd) < 4 * min(even, odd):
        return None  # NUL bytes at any place: a binary file
    return "utf-16-be" if even > odd else "utf-16-le"


def encoding_advice(start: bytes, part: bytes, encoding: str) -> str:
    """Advice for a file that is not valid in an encoding. part: the bytes around the first invalid byte."""
    mark = next((name for mark, name in BYTE_ORDER_MARKS if start.startswith(mark)), None)
    if mark is not None:
        return f"it starts with a byte order mark of {mark}: {_conversion(mark)}"
    wide = utf16_or_32(start)
    if wide is not None:
        return f"it looks like {wide}: {_conversion(wide)}"
    data = start + part
    if b"\0" in data:
        return "it contains NUL bytes, so it is probably not text; --bytes trains on the bytes of any file"
    text = data.decode("utf-8", "replace")
    num_invalid = text.count("\N{REPLACEMENT CHARACTER}")
    num_valid = sum(not character.isascii() for character in text) - num_invalid
    if codecs.lookup(encoding).name != "utf-8" and num_invalid <= num_valid:
        return f"it looks like utf-8: {_conversion('utf-8')}"
    if num_invalid < num_valid:
        return "most of it is utf-8, but it is damaged; iconv -c -f utf-8 -t utf-8 FILE drops the invalid bytes"
    if codecs.lookup(encoding).name != "cp1252" and _looks_like_cp1252(data):
        return f"it looks like cp1252 (Windows, Western European): {_conversion('cp1252')}"
    return (
        f"its encoding is not known: {_conversion('NAME')}, where NAME is for example cp1251 or koi8-r (Russian), "
        "shift_jis (Japanese), gb18030 (Chinese), euc_kr (Korean), cp850 (DOS) or mac-roman; "
        "--bytes trains on the bytes of any file"
    )


def _looks_like_cp1252(data: bytes) -> bool:
    """Whether a text that is not UTF-8 can be cp1252. Latin-1 is a part of cp1252, except for control characters."""
    others = re.sub(rb"[\x00-\x7f]", b"", data)
    letters = re.sub(rb"[\x00-\x40]", b"", data)
    if any(byte in CP1252_UNDEFINED for byte in others) or len(others) > MAX_ACCENT_SHARE * len(letters):
        return False
    num_additional = len(re.findall(rb"[\x80-\x9f]", others))  # characters that Latin-1 does not have
    return len(CP1252_IMPLAUSIBLE.findall(data)) <= MAX_IMPLAUSIBLE_SHARE * num_additional


def _conversion(encoding: str) -> str:
    """How to read a file in an encoding. Only `train` has an option for it."""
    if encoding == "utf-8":
        return "leave out --encoding"
    return f"train with --encoding {encoding}, or convert it: iconv -f {encoding} -t utf-8 FILE"
