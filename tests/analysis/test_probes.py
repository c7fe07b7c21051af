"""Probes on small texts, with the expected value after each character."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.analysis.probes import PROBES


def digits(name, text):
    """The values of a probe: a digit for each character, "." for 0."""
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
        ("in an upper-case line so far", "THE FOX\nThe", "1111111.1.."),
        ("digit", "a12", ".11"),
        ("vowel", "aEx", "11."),
        ("letter", "a1é", "1.1"),
        ("just after a space", "a b", ".1."),
        ("just after a line feed", "a\nb", ".1."),
        ("just after a full stop", "a.b!", ".1.1"),
        ("position in the word", "ab cde", "12.123"),
        ("position in the line", "ab\ncd", "12.12"),
        ("position in the sentence", "ab. c", "12.12"),
        ("lines since a blank line", "a\nb\n\nc\n", ".112..1"),
        ("indentation", "  a\n   b c\nd", "122.123333.."),
        ("in the indentation", "  a b\n d", "11....1."),
    ],
)
def test_each_probe_has_the_expected_values(name, text, expected):
    assert digits(name, text) == expected


def test_every_probe_is_tested():
    (cases,) = (mark.args[1] for mark in test_each_probe_has_the_expected_values.pytestmark)
    assert {name for name, *_ in cases} == set(PROBES)


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=60), st.sampled_from(["", "\n\n", '"""', "((", "if "]))
def test_any_text_has_a_finite_non_negative_value_for_each_character(text, ends):
    text = ends + text + ends
    for name, probe in PROBES.items():
        values = probe(text)
        assert values.shape == (len(text),), name
        assert np.isfinite(values).all() and (values >= 0).all(), name


@pytest.mark.parametrize("name", PROBES)
def test_the_values_of_a_probe_do_not_depend_on_later_characters(name):
    text = 'THE FOX\n\n"No," (he [said] 3.\n  if x: # "y"\nfrom \'a\' import <b>, """c\n\nd""" “e”\n'
    whole = PROBES[name](text)
    for stop in range(2, len(text)):
        certain = slice(0, stop - 2)  # a quotation mark may turn out to be the first of three
        assert (PROBES[name](text[:stop])[certain] == whole[certain]).all(), text[:stop]
