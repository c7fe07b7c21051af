"""Numbers behind characters: as colours, and as digits."""

import re

import pytest
from rich.color import ColorSystem

from charrnn.cli.heat import Scale, colour_system, coloured, plain

NATS = Scale("nats", 0, 6, 7, 1, open=True)
UNIT = Scale("tanh(c) of unit 0.1", -1, 1, 5, 0.1)
TRUE, EIGHT = ColorSystem.TRUECOLOR, ColorSystem.EIGHT_BIT


def without_colours(lines):
    return [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]


def test_digits_stand_under_the_characters():
    lines = list(plain("ab c\nd猫e", [0.4, 0.6, 2.5, 3.4, 12, 0, 1, 2], NATS, 20))
    assert lines == [
        *("ab c↵", " 1239"),
        *("d猫e", " 1 2"),
        *("", "nats, in steps of 1 (9: or more): below each character"),
    ]


def test_digits_of_numbers_around_zero_stand_above_and_below():
    lines = list(plain("abcd", [0.31, -0.99, 0.04, -0.55], UNIT, 20))
    caption = "tanh(c) of unit 0.1, in steps of 0.1 (9: or more): above a character +, below it -"
    assert lines == ["3", "abcd", " 9 6", "", caption]


@pytest.mark.parametrize(
    ("system", "scale", "values", "expected"),
    [
        (TRUE, NATS, [0, 6], "\x1b[38;5;231;48;2;27;23;38ma\x1b[0m\x1b[38;5;16;48;2;252;253;191mb\x1b[0m"),
        (EIGHT, NATS, [0, 99], "\x1b[38;5;231;48;5;234ma\x1b[0m\x1b[38;5;16;48;5;230mb\x1b[0m"),
        (EIGHT, UNIT, [0, 1], "\x1b[38;5;231;48;5;234ma\x1b[0m\x1b[38;5;231;48;5;130mb\x1b[0m"),
    ],
)
def test_a_character_has_its_own_ground_and_a_colour_to_be_read_on_it(system, scale, values, expected):
    assert next(coloured("ab", values, scale, system, 80)) == expected


@pytest.mark.parametrize("system", [TRUE, EIGHT])
@pytest.mark.parametrize("scale", [NATS, UNIT])
def test_the_scale_stands_under_the_text_and_all_fits_the_width(system, scale):
    lines = without_colours(coloured("some words to wrap\n" * 9, [0.5] * 171, scale, system, 80))
    assert lines[:9] == ["some words to wrap↵"] * 9
    assert lines[9] == "" and len(lines) == 11
    assert (
        lines[10]
        == {
            NATS: "0       1       2       3       4       5      6+ nats",
            UNIT: "-1          -0.5        0           0.5         1 tanh(c) of unit 0.1",
        }[scale]
    )
    narrow = without_colours(coloured("some words to wrap\n", [0.5] * 19, scale, system, 12))
    assert narrow[:2] == ["some words ", "to wrap↵"]


@pytest.mark.parametrize("system", [TRUE, EIGHT])
@pytest.mark.parametrize("scale", [NATS, UNIT])
def test_every_shade_can_be_read(system, scale):
    """WCAG asks for a contrast of 4.5."""
    from rich.color import Color

    from charrnn.cli.heat import _grounds, _readable_on

    def luminance(colour):
        parts = [c / 255 for c in colour.get_truecolor()]
        parts = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    for ground in _grounds(scale, system):
        dark, light = sorted([luminance(ground), luminance(_readable_on(ground))])
        assert (light + 0.05) / (dark + 0.05) > 4.5, ground
    assert isinstance(ground, Color)


def test_nothing_of_a_text_reaches_the_terminal_as_a_command():
    hostile = "\x1b]0;title\x07\x1b[2J\r\b\u202e\x9b31m\u200b"
    for lines in (plain(hostile, [1] * len(hostile), NATS, 80), coloured(hostile, [1] * len(hostile), NATS, TRUE, 80)):
        text = "".join(without_colours(lines))
        assert all(character.isprintable() for character in text)


@pytest.mark.parametrize(
    ("wish", "environment", "expected"),
    [
        ("always", {"TERM": "xterm", "NO_COLOR": "1"}, EIGHT),
        ("always", {"TERM": "xterm-256color"}, EIGHT),
        ("always", {"TERM": "dumb"}, EIGHT),
        ("always", {"COLORTERM": "truecolor", "TERM": "xterm"}, TRUE),
        ("auto", {"COLORTERM": "truecolor", "TERM": "xterm"}, None),  # no terminal
        ("never", {"COLORTERM": "truecolor", "TERM": "xterm"}, None),
    ],
)
def test_which_colours_there_are(wish, environment, expected, monkeypatch):
    for name in ("TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert colour_system(wish) is expected
