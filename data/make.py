"""Writes the generated data sets of this folder: python data/make.py [FOLDER].

The same SEED gives the same bytes.
"""

import datetime
import math
import random
import sys
from pathlib import Path

import numpy as np

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
    """Sentences without end marks, and their kinds."""

    def statement():
        who = rng.choice(PEOPLE)
        what = rng.choice(NOUNS)
        where = rng.choice(PLACES)
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
        who = rng.choice(PEOPLE)
        what = rng.choice(NOUNS)
        where = rng.choice(PLACES)
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
        what = rng.choice(NOUNS)
        where = rng.choice(PLACES)
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
        what = rng.choice(NOUNS)
        where = rng.choice(PLACES)
        return rng.choice(
            [
                f"what a fine {what} {rng.choice(PEOPLE)} {rng.choice(PAST)}",
                f"how bright the {what} is {where}",
                f"what a day to {rng.choice(PLAIN)} a {what}",
                f"how well {rng.choice(PEOPLE)} {rng.choice(PAST)} the {what}",
            ]
        )

    makers = {"statement": statement, "question": question, "command": command, "exclamation": exclamation}
    kinds_in_order = sorted(makers)
    rows = {}
    while len(rows) < 1600:
        kind = rng.choice(kinds_in_order)
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
    """Words of an invented language. The tag - marks the last letter of each syllable except the last syllable."""
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
    """1 -> first ... 31 -> thirty-first."""
    if day <= 20:
        return SMALL[day - 1]
    return {30: "thirtieth", 31: "thirty-first"}.get(day) or f"twenty-{SMALL[day - 21]}"


def dates(rng):
    """Dates in words, and in the format of ISO 8601."""
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
    """Captions of shapes, and the vectors that they describe: red, green, blue, size, x, y, number of corners / 10."""
    captions = []
    vectors = []
    corners = {"circle": 0, "triangle": 3, "square": 4, "star": 10}
    for _ in range(900):
        colour = rng.choice(list(COLOURS))
        shape = rng.choice(SHAPES)
        size, x, y = rng.random(), rng.random(), rng.random()
        # A value near the middle would not clearly be large or small, left or right, upper or lower.
        while min(abs(size - 0.5), abs(x - 0.5), abs(y - 0.5)) < 0.05:
            size, x, y = rng.random(), rng.random(), rng.random()
        place = f"{'upper' if y > 0.5 else 'lower'} {'right' if x > 0.5 else 'left'}"
        captions.append(f"a {'large' if size > 0.5 else 'small'} {colour} {shape} in the {place}\n")
        numbers = [*(c + rng.gauss(0, 0.03) for c in COLOURS[colour]), size, x, y, corners[shape] / 10]
        vectors.append(",".join(f"{number:.3f}" for number in numbers) + "\n")
    return "".join(captions), "".join(vectors)


def season(rng):
    """Months of a beach: temperature, rain and the number of visitors, which grows from year to year."""
    rows = ["temperature,rain,visitors"]
    warmth = 0.0  # deviations from the average of the month
    wetness = 0.0
    for month in range(360):
        warmth = 0.6 * warmth + rng.gauss(0, 1)
        wetness = 0.5 * wetness + rng.gauss(0, 10)
        phase = math.cos(2 * math.pi * (month - 6.5) / 12)  # 1 in summer, -1 in winter
        temperature = 12 + 8 * phase + warmth
        rain = max(0.0, 60 - 20 * phase + wetness)
        visitors = (200 + 2 * month) * (1.2 + phase) * (1 - rain / 300) + rng.gauss(0, 15)
        rows.append(f"{temperature:.1f},{rain:.1f},{max(0.0, visitors):.0f}")
    return "\n".join(rows) + "\n"


NOTES = "cdega"
BANDS = 10  # of a frame


def tunes(rng):
    """Tunes of two to four notes of a pentatonic scale.

    Returns the names of the notes, and the energy of each band in each frame, with noise.
    """
    clips = []
    for _ in range(400):
        notes = [rng.choice(NOTES) for _ in range(rng.randint(2, 4))]
        frames = []
        for note in notes:
            band = NOTES.index(note)
            for age in range(rng.randint(3, 7)):
                frame = [rng.gauss(0, 0.1) for _ in range(BANDS)]
                frame[band] += 0.75**age
                frame[band + 5] += 0.4 * 0.75**age  # an overtone
                frames.append(frame)
        clips.append((" ".join(notes), frames))
    return clips


KEYS = "abcd"


def recall(rng):
    """Lines of random digits, each with a letter at its start. The letter is the label of the line."""
    rows = []
    for _ in range(1500):
        key = rng.choice(KEYS)
        digits = "".join(rng.choice("0123456789") for _ in range(rng.randint(60, 90)))
        rows.append(f"{key}{digits}\t{key}\n")
    return "".join(rows)


def all_files():
    """The text of each generated file, by name."""
    captions, vectors = shapes(random.Random(f"{SEED} shapes"))
    return {
        "kinds.tsv": kinds(random.Random(f"{SEED} kinds")),
        "syllables.tsv": syllables(random.Random(f"{SEED} syllables")),
        "dates.tsv": dates(random.Random(f"{SEED} dates")),
        "shapes.txt": captions,
        "shapes.csv": vectors,
        "recall.tsv": recall(random.Random(f"{SEED} recall")),
        "season.csv": season(random.Random(f"{SEED} season")),
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    for name, text in all_files().items():
        (folder / name).write_text(text)
        print(f"{name}: {len(text.splitlines())} lines, {len(text)} characters")
    (folder / "tunes").mkdir(exist_ok=True)
    lines = []
    for number, (notes, frames) in enumerate(tunes(random.Random(f"{SEED} tunes"))):
        np.save(folder / "tunes" / f"{number:03d}.npy", np.array(frames, np.float16))
        lines.append(f"tunes/{number:03d}.npy\t{notes}\n")
    (folder / "tunes.tsv").write_text("".join(lines))
    print(f"tunes.tsv: {len(lines)} lines")
