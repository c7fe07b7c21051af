"""Probes on small texts, by hand: what is true once a character has been read."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.analysis.probes import PROBES


def marks(name, text):
    """A digit for each character, . for 0."""
    return "".join("." if value == 0 else f"{int(value)}" for value in PROBES[name](text))


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("inside quotation marks", 'a "b c" d', "..1111..."),
        ("inside quotation marks", 'a "b\nc" "d', "..1111..11"),
        ("inside quotation marks", 'never "closed\n\nnext', "......1111111......"),
        ("inside quotation marks", '"a\r\n\r\nb', "111...."),
        ("inside quotation marks", "“so” «il»", "111..111."),
        ("inside quotation marks", '"""doc""" "x"', "..........11."),
        ("inside single quotes", "don't 'go' b'x'", "......111...11."),
        ("inside triple quotes", 'x = """a\n\n"b" """ y', "....1111111111....."),
        ("inside brackets", "f(a[1]) b)", ".11111...."),
        ("open brackets", "f(a[1]) b) (", ".11221.....1"),
        ("open brackets", "(a\n\nb", "111.."),
        ("open brackets", "(a\r\n\r\nb", "11111.."),
        ("inside a <tag>", "a <b>c</b> 1 < 2", "...1...11......."),
        ("inside a # comment", "x # y\nz", "..111.."),
        ("in the head of an if, while or for", "  if a:\nelif\n", "....11......."),
        ("in an import or from line", "import re\nx", "......111.."),
        ("upper case", "aBÉc1", ".11.."),
        ("in a capitalised word", "The fox Reynard2", "111.....11111111"),
        ("in a line of capitals so far", "THE FOX\nThe", "1111111.1.."),
        ("digit", "a12", ".11"),
        ("vowel", "aEx", "11."),
        ("letter", "a1é", "1.1"),
        ("just after a space", "a b", ".1."),
        ("just after a line feed", "a\nb", ".1."),
        ("just after a full stop", "a.b!", ".1.1"),
        ("place in the word", "ab cde", "12.123"),
        ("place in the line", "ab\ncd", "12.12"),
        ("place in the sentence", "ab. c", "12.12"),
        ("lines since a blank one", "a\nb\n\nc\n", ".112..1"),
        ("indentation", "  a\n   b c\nd", "122.123333.."),
        ("in the indentation", "  a b\n d", "11....1."),
    ],
)
def test_by_hand(name, text, expected):
    assert marks(name, text) == expected


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=60), st.sampled_from(["", "\n\n", '"""', "((", "if "]))
def test_any_text_gives_a_finite_number_for_each_character(text, spice):
    text = spice + text + spice
    for name, probe in PROBES.items():
        values = probe(text)
        assert values.shape == (len(text),), name
        assert np.isfinite(values).all() and (values >= 0).all(), name


@pytest.mark.parametrize("name", PROBES)
def test_a_probe_knows_nothing_of_what_follows(name):
    text = 'THE FOX\n\n"No," (he [said] 3.\n  if x: # "y"\nfrom \'a\' import <b>, """c\n\nd""" “e”\n'
    whole = PROBES[name](text)
    for stop in range(2, len(text)):
        certain = slice(0, stop - 2)  # two characters more tell a quotation mark from three of them
        assert (PROBES[name](text[:stop])[certain] == whole[certain]).all(), text[:stop]
