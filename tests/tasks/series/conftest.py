"""Tables for the tests of series."""

import csv

import pytest

from charrnn.corpus.tables import read_table


@pytest.fixture
def make_table(tmp_path):
    """Makes a table: make_table("a,b", rows, keep_texts=[...])."""

    def make(header, rows, **options):
        with open(tmp_path / "made.csv", "w", newline="") as file:
            file.write(header + "\n")
            csv.writer(file).writerows(rows)
        return read_table(str(tmp_path / "made.csv"), [], **options)

    return make
