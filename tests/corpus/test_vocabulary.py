"""Symbols to ids and back; what is not known is named."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.corpus.vocabulary import Vocabulary
from charrnn.errors import CorpusError

quick = settings(max_examples=150, deadline=None)
any_text = st.text(st.characters(exclude_categories=()), min_size=1)


def vocabulary_of(text, is_bytes=False):
    values = text if is_bytes else map(ord, text)
    return Vocabulary(np.array(sorted(set(values)), np.uint32), is_bytes)


@quick
@given(any_text)
def test_any_text_survives_encoding_and_decoding(text):
    vocabulary = vocabulary_of(text)
    assert vocabulary.decode(vocabulary.encode(text)) == text


@quick
@given(st.binary(min_size=1))
def test_any_bytes_survive_conversion_to_ids(data):
    vocabulary = vocabulary_of(data, is_bytes=True)
    ids = vocabulary.codes_to_ids(np.frombuffer(data, np.uint8))
    assert vocabulary.codes[ids].astype(np.uint8).tobytes() == data
    assert vocabulary.decode(ids) == data.decode("utf-8", "replace")


@quick
@given(st.text(min_size=1))
def test_a_byte_vocabulary_encodes_text_as_utf_8(text):
    vocabulary = vocabulary_of(bytes(range(256)), is_bytes=True)
    assert vocabulary.encode(text).tolist() == list(text.encode())
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_text_that_utf_8_cannot_hold_is_a_corpus_error_for_a_byte_vocabulary():
    with pytest.raises(CorpusError):
        vocabulary_of(bytes(range(256)), is_bytes=True).encode("a\ud800")


@pytest.mark.parametrize("unknown", ["ß", "—", "😀", "\n", "a"])
def test_an_unknown_character_is_named_with_code_point_and_position(unknown):
    with pytest.raises(CorpusError) as caught:
        vocabulary_of("xyz").encode(f"xyz{unknown}x")
    assert f"U+{ord(unknown):04X}" in str(caught.value) and "position 3" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1 and str(caught.value).isprintable()


def test_an_unknown_byte_is_named():
    with pytest.raises(CorpusError, match="byte 0xff at position 1"):
        vocabulary_of(b"a", is_bytes=True).codes_to_ids(np.array([97, 255], np.uint8))


@quick
@given(known=any_text, text=any_text)
def test_skipping_drops_the_unknown_characters_and_no_others(known, text):
    ids = vocabulary_of(known).encode(text, skip_unknown=True)
    assert vocabulary_of(known).decode(ids) == "".join(c for c in text if c in known)


@pytest.mark.parametrize("others", ["b", "—", "😀"])
def test_codes_of_a_narrow_type_are_converted_by_a_wide_vocabulary(others):
    """Text comes in chunks of the smallest type that holds each: the first may be ASCII, the next not."""
    assert vocabulary_of("a" + others).codes_to_ids(np.array([97, 97], np.uint8)).tolist() == [0, 0]
