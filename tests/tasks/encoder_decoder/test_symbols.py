"""Vocabularies of characters, or of symbols between separators: encoding, metadata, other vocabularies."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.errors import CorpusError, UsageError
from charrnn.tasks.encoder_decoder.symbols import END, Symbols, split_text

quick = settings(max_examples=100, deadline=None)
texts = st.lists(st.text(st.sampled_from("ab: —\n😀\0"), max_size=8), min_size=1, max_size=5)
separators = st.sampled_from([" ", "—", "ab", "::"])


@quick
@given(texts)
def test_without_a_separator_every_text_survives_encoding(texts):
    symbols = Symbols.from_texts(texts, None)
    for text in texts:
        ids = symbols.encode(text)
        assert len(ids) == len(text) and END not in ids
        assert symbols.decode(ids) == text


def test_decomposed_symbols_are_composed_again_when_they_are_written():
    symbols = Symbols.from_texts(["\ud55c\uae00", "\u00e9"], None, form="NFD")
    assert symbols.size == 1 + 6 + 2  # the end, six jamo, e and its accent
    assert len(symbols.encode("\ud55c\uae00")) == 6
    assert symbols.decode(symbols.encode("\ud55c\uae00e\u0301")) == "\ud55c\uae00\u00e9"
    assert symbols.written_symbols("\ud55c\uae00") == ["\ud55c", "\uae00"]
    assert Symbols.from_dict(json.loads(json.dumps(symbols.to_dict()))).form == "NFD"


@quick
@given(texts, separators)
def test_with_a_separator_the_symbols_of_every_text_survive_encoding(texts, separator):
    symbols = Symbols.from_texts(texts, separator)
    for text in texts:
        decoded = symbols.decode(symbols.encode(text))
        parts = [part for part in text.split(separator) if part]
        assert decoded == separator.join(parts)
        assert symbols.split(text) == parts == symbols.split(decoded)


@quick
@given(texts, st.none() | separators)
def test_ids_follow_the_sorted_symbols(texts, separator):
    symbols = Symbols.from_texts(texts, separator)
    assert list(symbols.symbols) == sorted({symbol for text in texts for symbol in split_text(text, separator)})
    assert symbols.size == len(symbols.symbols) + 1
    for id, symbol in enumerate(symbols.symbols, 1):
        assert symbol in symbols
        assert symbols.decode([id]) == symbol


@quick
@given(texts, st.none() | separators)
def test_metadata_survive_json(texts, separator):
    symbols = Symbols.from_texts(texts, separator)
    restored = Symbols.from_dict(json.loads(json.dumps(symbols.to_dict())))
    assert (restored.symbols, restored.separator) == (symbols.symbols, separator)


@quick
@given(texts, texts, st.none() | separators)
def test_a_vocabulary_includes_another_one_whose_symbols_keep_their_texts(old_texts, new_texts, separator):
    old = Symbols.from_texts(old_texts, separator)
    new = Symbols.from_texts(new_texts, separator, old)
    ids = old.ids_in(new)
    assert ids[END] == END
    assert [new.decode([id]) for id in ids[1:]] == list(old.symbols)
    assert set(new.symbols) == set(old.symbols) | set(Symbols.from_texts(new_texts, separator).symbols)


def test_ids_of_an_example():
    symbols = Symbols.from_texts(["a tS a", "b"], " ")
    assert symbols.symbols == ("a", "b", "tS")
    assert symbols.encode("tS a  b ").tolist() == [3, 1, 2]
    assert symbols.encode("tS a").dtype == np.uint32
    assert symbols.decode(np.array([1, 3, 1], np.uint32)) == "a tS a"
    assert symbols.encode("").tolist() == []


@pytest.mark.parametrize(
    ("separator", "text", "message"),
    [
        (None, "abz", r"character 'z' at position 2 is not in the vocabulary \(skip it with --on-unknown skip\)"),
        (" ", "a bz a", "symbol 'bz' at position 1 is not in the vocabulary"),
    ],
)
def test_the_error_for_an_unknown_symbol_names_its_position(separator, text, message):
    symbols = Symbols.from_texts(["a b"], separator)
    with pytest.raises(CorpusError, match=message):
        symbols.encode(text)
    ids = symbols.encode(text, skip_unknown=True)
    assert symbols.decode(ids) == {None: "ab", " ": "a a"}[separator]


@pytest.mark.parametrize(
    "damage",
    [
        {"symbols": "ab"},
        {"symbols": ["b", "a"]},
        {"symbols": ["a", "a"]},
        {"symbols": ["", "a"]},
        {"symbols": ["a", 1]},
        {"symbols": ["a", "bc"]},
        {"separator": ""},
        {"separator": 1},
        {"separator": "x" * 101},
        {"separator": ["x"]},
        {"normalize": "nfq"},
    ],
)
def test_damaged_metadata_are_refused(damage):
    with pytest.raises(ValueError, match="checkpoint"):
        Symbols.from_dict({"symbols": ["a", "b"], "separator": None, "normalize": "NFC"} | damage)


@pytest.mark.parametrize("key", ["symbols", "separator", "normalize"])
def test_incomplete_metadata_are_refused(key):
    values = Symbols.from_texts(["ab"], None).to_dict()
    del values[key]
    with pytest.raises(KeyError):
        Symbols.from_dict(values)


def test_a_vocabulary_with_more_symbols_keeps_its_separator():
    known = Symbols.from_texts(["a+b"], "+")
    extended = Symbols.from_texts(["b+cd"], None, known)
    assert extended.symbols == ("a", "b", "cd")
    assert extended.separator == "+"


@pytest.mark.parametrize(("known", "message"), [("+", r"are separated by '\+'"), (None, "single characters")])
def test_another_separator_than_that_of_the_known_vocabulary_is_refused(known, message):
    with pytest.raises(UsageError, match=message):
        Symbols.from_texts(["a-b"], "-", Symbols.from_texts(["a+b"], known))


@quick
@given(texts, st.one_of(st.none(), separators), st.lists(st.sampled_from(["a", "b", ":", "ab"]), unique=True))
def test_unknown_symbols_are_found_with_their_positions(texts, separator, known):
    symbols = Symbols(tuple(sorted(known)), separator)
    for text in texts:
        found = symbols.find_unknown(text)
        unknown = [symbol for symbol in symbols.split(text) if symbol not in symbols]
        assert len(found) == len(unknown)
        for (position, description), symbol in zip(found, unknown, strict=True):
            assert text[position:].startswith(symbol) and description.endswith(repr(symbol))
