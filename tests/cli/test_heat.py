"""Numbers behind the characters of a text, as colours and as digits."""

import re

import pytest
from rich.color import ColorSystem

from charrnn.cli.heat import Scale, _backgrounds, _foreground, coloured_lines, digit_lines, select_colours

NATS = Scale("nats", 0, 6, 7, 1, open_ended=True)
UNIT = Scale("tanh(c) of unit 0.1", -1, 1, 5, 0.1)
TRUECOLOR = ColorSystem.TRUECOLOR
EIGHT_BIT = ColorSystem.EIGHT_BIT


def without_colours(lines):
    return [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]


def test_digits_are_below_the_characters():
    lines = list(digit_lines("ab c\nd猫e", [0.4, 0.6, 2.5, 3.4, 12, 0, 1, 2], NATS, 20))
    caption = "nats, in steps of 1 (9 = 9 or more): below each character"
    assert lines == ["ab c↵", " 1239", "d猫e", " 1 2", "", caption]


def test_digits_of_positive_values_are_above_and_of_negative_values_below():
    lines = list(digit_lines("abcd", [0.31, -0.99, 0.04, -0.55], UNIT, 20))
    caption = "tanh(c) of unit 0.1, in steps of 0.1 (9 = 9 or more): positive above a character, negative below"
    assert lines == ["3", "abcd", " 9 6", "", caption]


@pytest.mark.parametrize(
    ("system", "scale", "values", "expected"),
    [
        (TRUECOLOR, NATS, [0, 6], "\x1b[38;5;231;48;2;27;23;38ma\x1b[0m\x1b[38;5;16;48;2;252;253;191mb\x1b[0m"),
        (EIGHT_BIT, NATS, [0, 99], "\x1b[38;5;231;48;5;234ma\x1b[0m\x1b[38;5;16;48;5;230mb\x1b[0m"),
        (EIGHT_BIT, UNIT, [0, 1], "\x1b[38;5;231;48;5;234ma\x1b[0m\x1b[38;5;231;48;5;130mb\x1b[0m"),
    ],
)
def test_each_character_has_the_background_of_its_value_and_a_readable_foreground(system, scale, values, expected):
    assert next(coloured_lines("ab", values, scale, system, 80)) == expected


def test_24_bit_colours_pass_through_all_anchors_in_even_steps():
    colours = [tuple(colour.get_truecolor()) for colour in _backgrounds(UNIT, TRUECOLOR)]
    assert len(colours) == len(set(colours)) == 64
    assert (colours[0], colours[21], colours[-1]) == ((36, 92, 168), (29, 45, 78), (190, 74, 38))


@pytest.mark.parametrize("system", [TRUECOLOR, EIGHT_BIT])
@pytest.mark.parametrize("scale", [NATS, UNIT])
def test_the_legend_follows_the_text_and_all_lines_fit_the_width(system, scale):
    lines = without_colours(coloured_lines("some words to wrap\n" * 9, [0.5] * 171, scale, system, 80))
    legends = {
        NATS: "0       1       2       3       4       5      6+ nats",
        UNIT: "-1          -0.5        0           0.5         1 tanh(c) of unit 0.1",
    }
    assert lines == ["some words to wrap↵"] * 9 + ["", legends[scale]]
    narrow = without_colours(coloured_lines("some words to wrap\n", [0.5] * 19, scale, system, 12))
    assert narrow[:2] == ["some words ", "to wrap↵"]


@pytest.mark.parametrize("system", [TRUECOLOR, EIGHT_BIT])
@pytest.mark.parametrize("scale", [NATS, UNIT])
def test_the_contrast_of_every_shade_is_at_least_4_5_as_wcag_requires(system, scale):
    def luminance(colour):
        channels = [c / 255 for c in colour.get_truecolor()]
        red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    backgrounds = _backgrounds(scale, system)
    assert len(backgrounds) >= 7
    for background in backgrounds:
        dark, light = sorted([luminance(background), luminance(_foreground(background))])
        assert (light + 0.05) / (dark + 0.05) > 4.5, background


def test_control_characters_of_a_text_do_not_reach_the_terminal():
    hostile = "\x1b]0;title\x07\x1b[2J\r\b\u202e\x9b31m\u200b"
    values = [1] * len(hostile)
    for lines in (digit_lines(hostile, values, NATS, 80), coloured_lines(hostile, values, NATS, TRUECOLOR, 80)):
        text = "".join(without_colours(lines))
        assert all(character.isprintable() for character in text)


@pytest.mark.parametrize(
    ("mode", "environment", "expected"),
    [
        ("always", {"TERM": "xterm", "NO_COLOR": "1"}, EIGHT_BIT),
        ("always", {"TERM": "xterm-256color"}, EIGHT_BIT),
        ("always", {"TERM": "dumb"}, EIGHT_BIT),
        ("always", {"COLORTERM": "truecolor", "TERM": "xterm"}, TRUECOLOR),
        ("auto", {"COLORTERM": "truecolor", "TERM": "xterm"}, None),  # the output is not a terminal
        ("never", {"COLORTERM": "truecolor", "TERM": "xterm"}, None),
    ],
)
def test_colours_depend_on_the_mode_and_the_terminal(mode, environment, expected, monkeypatch):
    for name in ("TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert select_colours(mode) is expected
