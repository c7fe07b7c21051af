"""Conversion between text, codes and ids. Errors name the unknown symbol and its position."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.corpus.escapes import readable, to_bytes
from charrnn.corpus.vocabulary import DOCUMENT_END, Vocabulary
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
    assert to_bytes(vocabulary.decode(ids)) == data
    assert readable(vocabulary.decode(ids)) == data.decode("utf-8", "replace")
    assert vocabulary.encode(vocabulary.decode(ids)).tolist() == ids.tolist()


@quick
@given(st.text(min_size=1))
def test_a_byte_vocabulary_encodes_text_as_utf_8(text):
    vocabulary = vocabulary_of(bytes(range(256)), is_bytes=True)
    assert vocabulary.encode(text).tolist() == list(text.encode())
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_a_byte_vocabulary_refuses_text_that_utf_8_cannot_encode():
    with pytest.raises(CorpusError):
        vocabulary_of(bytes(range(256)), is_bytes=True).encode("a\ud800")


@pytest.mark.parametrize("unknown", ["ß", "—", "😀", "\n", "a"])
def test_the_error_for_an_unknown_character_gives_its_code_point_and_position(unknown):
    with pytest.raises(CorpusError) as caught:
        vocabulary_of("xyz").encode(f"xyz{unknown}x")
    assert f"U+{ord(unknown):04X}" in str(caught.value) and "position 3" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1 and str(caught.value).isprintable()


def test_the_error_for_an_unknown_byte_gives_its_value_and_position():
    with pytest.raises(CorpusError, match="byte 0xff at position 1"):
        vocabulary_of(b"a", is_bytes=True).codes_to_ids(np.array([97, 255], np.uint8))


@quick
@given(known=any_text, text=any_text)
def test_skipping_drops_exactly_the_unknown_characters(known, text):
    ids = vocabulary_of(known).encode(text, skip_unknown=True)
    assert vocabulary_of(known).decode(ids) == "".join(c for c in text if c in known)


@pytest.mark.parametrize("others", ["b", "—", "😀"])
def test_codes_of_a_small_type_are_converted_by_a_vocabulary_of_large_codes(others):
    """Each chunk of a text has the smallest type that holds its codes."""
    assert vocabulary_of("a" + others).codes_to_ids(np.array([97, 97], np.uint8)).tolist() == [0, 0]


def test_a_position_counts_all_characters_of_the_text():
    with pytest.raises(CorpusError, match=r"U\+007A\) at position 5"):
        vocabulary_of("ab😀").encode("a😀b😀bz")


@quick
@given(any_text, any_text)
def test_a_union_has_the_symbols_of_both_vocabularies_in_code_point_order(first, second):
    union = vocabulary_of(first).union(vocabulary_of(second))
    assert "".join(map(chr, union.codes.tolist())) == "".join(sorted(set(first + second)))
    assert Vocabulary.of_texts([first], vocabulary_of(second)).codes.tolist() == union.codes.tolist()
    assert all(character in union for character in first + second)


@quick
@given(any_text)
def test_a_vocabulary_contains_its_own_characters_only(text):
    vocabulary = vocabulary_of(text)
    assert [c for c in "aß—😀\n\U0010ffff" if c in vocabulary] == [c for c in "aß—😀\n\U0010ffff" if c in text]


def test_the_start_symbol_is_the_line_feed_or_else_the_first_symbol():
    assert vocabulary_of("\t\nab").start == vocabulary_of("\t\nab").newline == 1
    assert (vocabulary_of("ab").start, vocabulary_of("ab").newline) == (0, None)


@pytest.mark.parametrize(
    "values",
    [
        {"vocabulary": [], "bytes": False},
        {"vocabulary": [2, 1], "bytes": False},
        {"vocabulary": [1, 1], "bytes": False},
        {"vocabulary": [-1, 1], "bytes": False},
        {"vocabulary": [0x110000], "bytes": False},
        {"vocabulary": [256], "bytes": True},
        {"vocabulary": [1.0], "bytes": False},
        {"vocabulary": "ab", "bytes": False},
        {"vocabulary": [1], "bytes": 0},
    ],
)
def test_damaged_metadata_are_refused(values):
    with pytest.raises(ValueError, match="vocabulary"):
        Vocabulary.from_dict(values)


def test_metadata_survive_a_round_trip_and_tasks_of_characters_refuse_bytes():
    vocabulary = vocabulary_of(b"ab\xff", is_bytes=True)
    restored = Vocabulary.from_dict(vocabulary.to_dict())
    assert (restored.codes.tolist(), restored.is_bytes) == ([97, 98, 255], True)
    with pytest.raises(ValueError, match="bytes"):
        Vocabulary.of_characters(vocabulary.to_dict())


@quick
@given(any_text)
def test_the_characters_of_ids_are_found_with_their_last_ids(text):
    characters, ends = vocabulary_of(text).characters(vocabulary_of(text).encode(text))
    assert (characters, ends.tolist()) == (text, list(range(len(text))))


def test_the_bytes_of_a_character_belong_together_and_invalid_bytes_are_replaced():
    data = "aß—😀".encode() + b"\xff" + b"b"
    vocabulary = vocabulary_of(data, is_bytes=True)
    characters, ends = vocabulary.characters(vocabulary.codes_to_ids(np.frombuffer(data, np.uint8)))
    assert (characters, ends.tolist()) == ("aß—😀\ufffdb", [0, 2, 5, 9, 10, 11])


@quick
@given(any_text, st.text("abc", min_size=1))
def test_unknown_characters_are_found_with_their_positions(text, known):
    vocabulary = vocabulary_of(known)
    found = vocabulary.find_unknown(text)
    assert [position for position, _ in found] == [n for n, c in enumerate(text) if c not in known]
    assert all(description == vocabulary.describe(ord(text[position])) for position, description in found)


def test_texts_are_encoded_in_the_normal_form_of_the_vocabulary():
    composed = Vocabulary.of_texts(["cafe\u0301"], form="NFC")
    assert composed.encode("caf\u00e9").tolist() == composed.encode("cafe\u0301").tolist()
    assert composed.decode(composed.encode("cafe\u0301")) == "caf\u00e9"
    assert Vocabulary.from_dict(composed.to_dict()).form == "NFC"


def test_the_separator_of_documents_is_one_symbol():
    codes = np.array([10, 97, 98, DOCUMENT_END], np.uint32)
    vocabulary = Vocabulary(codes, separator="\n\n")
    ids = vocabulary.encode("a\n\nb\n")
    assert ids.tolist() == [1, vocabulary.document_end, 2, 0] and vocabulary.start == vocabulary.document_end
    assert vocabulary.decode(ids) == "a\n\nb\n" and vocabulary.symbols()[-1] == "\n\n"
    assert Vocabulary.from_dict(vocabulary.to_dict()).separator == "\n\n"


@pytest.mark.parametrize("damage", [{"normalize": "NFX"}, {"separator": ""}, {"separator": 1}, {"separator": "%"}])
def test_damaged_metadata_is_refused(damage):
    with pytest.raises(ValueError, match=r"normal form|end of a document"):
        Vocabulary.from_dict(vocabulary_of("ab").to_dict() | damage)
