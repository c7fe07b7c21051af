"""A text in single places: nothing that a terminal would obey, and rows that hold all of it in order."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.plots.symbols import rows, symbol


@pytest.mark.parametrize(
    ("character", "shown"),
    [
        *(
            ("a", "a"),
            (" ", " "),
            ("\u00a0", " "),
            ("\n", "↵"),
            ("\t", "→"),
            ("\r", "←"),
            ("\x1b", "␛"),
            ("\x00", "␀"),
            ("\x7f", "␡"),
        ),
        *(
            ("é", "é"),
            ("\u0301", "\u25cc\u0301"),
            ("\u202e", "\ufffd"),
            ("\x9b", "\ufffd"),
            ("\ud800", "\ufffd"),
            ("猫", "猫"),
        ),
    ],
)
def test_what_stands_for_a_character(character, shown):
    assert symbol(character) == shown


@given(st.characters(codec=None))
def test_no_character_is_shown_as_one_that_does_something(character):
    assert all(c.isprintable() for c in symbol(character))
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in symbol(character))


@settings(deadline=None)
@given(st.text("ab \n", max_size=80), st.integers(2, 20))
def test_rows_hold_the_text_in_order_and_are_not_too_wide(text, width):
    parts = [text[part] for part in rows(text, [1] * len(text), width)]
    assert "".join(parts) == text
    assert all(0 < len(part) <= width for part in parts)
    assert all("\n" not in part[:-1] for part in parts)


def test_long_lines_break_behind_a_space_and_wide_characters_count_twice():
    text = "the quick brown fox"
    assert [text[part] for part in rows(text, [1] * len(text), 10)] == ["the quick ", "brown fox"]
    assert [part.stop - part.start for part in rows("猫猫猫猫猫", [2] * 5, 4)] == [2, 2, 1]
    assert [part.stop for part in rows("abcdefgh", [1] * 8, 3)] == [3, 6, 8]
