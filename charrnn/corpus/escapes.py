"""Texts of byte models. Bytes that are not UTF-8 are escaped as `surrogateescape` does (PEP 383)."""


def to_bytes(text: str) -> bytes:
    """The bytes of a text in UTF-8, with the original bytes in place of escaped ones."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # other surrogates, of a corpus in an unusual encoding
        return text.encode("utf-8", "replace")


def readable(text: str) -> str:
    """The text with U+FFFD in place of escaped bytes."""
    return to_bytes(text).decode("utf-8", "replace")
