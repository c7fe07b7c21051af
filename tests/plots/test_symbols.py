"""Visible symbols for characters, and rows that contain the whole text in order."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.plots.symbols import visible_label, visible_symbol, wrap


@pytest.mark.parametrize(
    ("character", "symbol"),
    [
        ("a", "a"),
        (" ", " "),
        ("\u00a0", " "),
        ("\n", "↵"),
        ("\t", "→"),
        ("\r", "←"),
        ("\x1b", "␛"),
        ("\x00", "␀"),
        ("\x7f", "␡"),
        ("é", "é"),
        ("\u0301", "\u25cc\u0301"),
        ("\u202e", "\ufffd"),
        ("\x9b", "\ufffd"),
        ("\ud800", "\ufffd"),
        ("猫", "猫"),
    ],
)
def test_each_character_has_the_expected_symbol(character, symbol):
    assert visible_symbol(character) == symbol


@given(st.characters(codec=None))
def test_symbols_are_printable_and_have_no_effect_on_a_terminal(character):
    symbol = visible_symbol(character)
    assert all(c.isprintable() for c in symbol)
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in symbol)


def test_a_combining_mark_of_a_label_stays_on_its_character():
    assert visible_label("t\u0361s") == "t\u0361s"
    assert visible_label("\u0361s\n") == "\u25cc\u0361s\u21b5"


@settings(deadline=None)
@given(st.text("ab \n", max_size=80), st.integers(2, 20))
def test_rows_contain_the_text_in_order_and_fit_the_width(text, width):
    rows = [text[part] for part in wrap(text, [1] * len(text), width)]
    assert "".join(rows) == text
    assert all(0 < len(row) <= width for row in rows)
    assert all("\n" not in row[:-1] for row in rows)


def test_long_lines_break_after_a_space_and_between_characters_if_there_is_none():
    text = "the quick brown fox"
    assert [text[part] for part in wrap(text, [1] * len(text), 10)] == ["the quick ", "brown fox"]
    assert [part.stop for part in wrap("abcdefgh", [1] * 8, 3)] == [3, 6, 8]


def test_wide_characters_count_twice():
    assert [part.stop - part.start for part in wrap("猫猫猫猫猫", [2] * 5, 4)] == [2, 2, 1]
