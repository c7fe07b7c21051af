"""Writes the generated data sets of this folder: python data/make.py [FOLDER]. Same SEED, same bytes."""

import datetime
import math
import random
import sys
from pathlib import Path

SEED = 1921

NOUNS = [
    "kettle",
    "lantern",
    "ladder",
    "letter",
    "bicycle",
    "garden gate",
    "basket",
    "umbrella",
    "candle",
    "drawer",
    "clock",
    "window",
]
PEOPLE = ["Ada", "the baker", "my sister", "the postman", "our neighbour", "the old captain", "Tom", "the children"]
PLACES = ["in the kitchen", "by the river", "behind the school", "on the hill", "at the market", "under the stairs"]
PAST = ["found", "sold", "painted", "lost", "mended", "carried", "borrowed", "cleaned"]
PLAIN = ["find", "sell", "paint", "lose", "mend", "carry", "borrow", "clean"]
TIMES = ["yesterday", "last week", "this morning", "at noon", "before supper", "in spring"]
SOON = ["now", "before supper", "tonight", "by noon", "first", "at once"]


def kinds(rng):
    """Sentences without their end marks, and what kind they are."""

    def statement():
        who, what, where = rng.choice(PEOPLE), rng.choice(NOUNS), rng.choice(PLACES)
        return rng.choice(
            [
                f"{who} {rng.choice(PAST)} the {what} {rng.choice(TIMES)}",
                f"the {what} is {where}",
                f"{who} will {rng.choice(PLAIN)} the {what} {rng.choice(SOON)}",
                f"there is a {what} {where}",
                f"what {who} {rng.choice(PAST)} was a {what}",
            ]
        )

    def question():
        who, what, where = rng.choice(PEOPLE), rng.choice(NOUNS), rng.choice(PLACES)
        return rng.choice(
            [
                f"did {who} {rng.choice(PLAIN)} the {what} {rng.choice(TIMES)}",
                f"is the {what} {where}",
                f"will {who} {rng.choice(PLAIN)} the {what}",
                f"what did {who} {rng.choice(PLAIN)} {where}",
                f"where is the {what} that {who} {rng.choice(PAST)}",
            ]
        )

    def command():
        what, where = rng.choice(NOUNS), rng.choice(PLACES)
        return rng.choice(
            [
                f"{rng.choice(PLAIN)} the {what} {rng.choice(SOON)}",
                f"please {rng.choice(PLAIN)} the {what} {where}",
                f"do not {rng.choice(PLAIN)} the {what}",
                f"put the {what} {where}",
                f"let {rng.choice(PEOPLE)} {rng.choice(PLAIN)} the {what}",
            ]
        )

    def exclamation():
        what, where = rng.choice(NOUNS), rng.choice(PLACES)
        return rng.choice(
            [
                f"what a fine {what} {rng.choice(PEOPLE)} {rng.choice(PAST)}",
                f"how bright the {what} is {where}",
                f"what a day to {rng.choice(PLAIN)} a {what}",
                f"how well {rng.choice(PEOPLE)} {rng.choice(PAST)} the {what}",
            ]
        )

    makers = {"statement": statement, "question": question, "command": command, "exclamation": exclamation}
    chosen = sorted(makers)
    rows = {}
    while len(rows) < 1600:
        kind = rng.choice(chosen)
        rows[makers[kind]()] = kind
    return "".join(f"{text}\t{kind}\n" for text, kind in rows.items())


ONSETS = [
    "b",
    "d",
    "f",
    "g",
    "k",
    "l",
    "m",
    "n",
    "p",
    "r",
    "s",
    "t",
    "v",
    "br",
    "dr",
    "fl",
    "gr",
    "kl",
    "pr",
    "st",
    "tr",
]
VOWELS = ["a", "e", "i", "o", "u", "ai", "ou"]
CODAS = ["", "", "", "", "l", "m", "n", "r", "s", "t"]


def syllables(rng):
    """Words of an invented language, and a - under the last letter of each syllable that another one follows."""
    rows = {}
    while len(rows) < 1500:
        parts = [rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(rng.randint(1, 5))]
        tags = "-".join("." * (len(part) - 1) for part in parts) + "."
        rows["".join(parts)] = tags
    return "".join(f"{word}\t{tags}\n" for word, tags in rows.items())


MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
SMALL = [
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "eleventh",
    "twelfth",
    "thirteenth",
    "fourteenth",
    "fifteenth",
    "sixteenth",
    "seventeenth",
    "eighteenth",
    "nineteenth",
    "twentieth",
]


def ordinal(day):
    if day <= 20:
        return SMALL[day - 1]
    return {30: "thirtieth", 31: "thirty-first"}.get(day) or f"twenty-{SMALL[day - 21]}"


def dates(rng):
    """Dates in words, and as ISO 8601 writes them."""
    rows = {}
    first = datetime.date(1850, 1, 1).toordinal()
    while len(rows) < 3000:
        day = datetime.date.fromordinal(first + rng.randrange(73000))
        month = MONTHS[day.month - 1]
        text = rng.choice(
            [
                f"the {ordinal(day.day)} of {month} {day.year}",
                f"{month} {day.day}, {day.year}",
                f"{day.day} {month[:3]} {day.year}",
                f"{month} the {ordinal(day.day)}, {day.year}",
            ]
        )
        rows[text] = day.isoformat()
    return "".join(f"{text}\t{date}\n" for text, date in rows.items())


COLOURS = {"red": (0.9, 0.1, 0.1), "green": (0.1, 0.8, 0.2), "blue": (0.1, 0.2, 0.9), "yellow": (0.9, 0.9, 0.1)}
SHAPES = ["circle", "square", "triangle", "star"]


def shapes(rng):
    """Captions of shapes, and the vectors that they describe: red, green, blue, size, x, y, corners / 10."""
    captions, vectors = [], []
    corners = {"circle": 0, "triangle": 3, "square": 4, "star": 10}
    for _ in range(900):
        colour, shape = rng.choice(list(COLOURS)), rng.choice(SHAPES)
        size, x, y = rng.random(), rng.random(), rng.random()
        while min(abs(size - 0.5), abs(x - 0.5), abs(y - 0.5)) < 0.05:
            size, x, y = rng.random(), rng.random(), rng.random()
        place = f"{'upper' if y > 0.5 else 'lower'} {'right' if x > 0.5 else 'left'}"
        captions.append(f"a {'large' if size > 0.5 else 'small'} {colour} {shape} in the {place}\n")
        numbers = [*(c + rng.gauss(0, 0.03) for c in COLOURS[colour]), size, x, y, corners[shape] / 10]
        vectors.append(",".join(f"{number:.3f}" for number in numbers) + "\n")
    return "".join(captions), "".join(vectors)


def season(rng):
    """Months of a beach: temperature, rain, and visitors, who grow from year to year."""
    rows, warmth, wet = ["temperature,rain,visitors"], 0.0, 0.0
    for month in range(360):
        warmth, wet = 0.6 * warmth + rng.gauss(0, 1), 0.5 * wet + rng.gauss(0, 10)
        phase = math.cos(2 * math.pi * (month - 6.5) / 12)
        temperature, rain = 12 + 8 * phase + warmth, max(0.0, 60 - 20 * phase + wet)
        visitors = (200 + 2 * month) * (1.2 + phase) * (1 - rain / 300) + rng.gauss(0, 15)
        rows.append(f"{temperature:.1f},{rain:.1f},{max(0.0, visitors):.0f}")
    return "\n".join(rows) + "\n"


def all_files():
    """Name -> text of every generated file."""
    captions, vectors = shapes(random.Random(f"{SEED} shapes"))
    made = {make.__name__: make(random.Random(f"{SEED} {make.__name__}")) for make in (kinds, syllables, dates, season)}
    return {
        "kinds.tsv": made["kinds"],
        "syllables.tsv": made["syllables"],
        "dates.tsv": made["dates"],
        "shapes.txt": captions,
        "shapes.csv": vectors,
        "season.csv": made["season"],
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    for name, text in all_files().items():
        (folder / name).write_text(text)
        print(f"{name}: {len(text.splitlines())} lines, {len(text)} characters")
