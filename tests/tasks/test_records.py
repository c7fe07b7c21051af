"""Records: how lines are parsed, and how records are split, for all tasks with records."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from charrnn.errors import CorpusError, UsageError
from charrnn.options import RunConfig
from charrnn.tasks.records import Pair, parse_names
from charrnn.tasks.registry import read_task

in_tmp_path = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
characters = st.characters(exclude_categories=("Cs",), exclude_characters="\t\n\r\ufeff")
texts = st.text(characters, max_size=8)


def read(tmp_path, task, text, **options):
    path = tmp_path / "records.tsv"
    path.write_bytes(text.encode())
    return read_task(RunConfig.from_options([str(path)], {"task": task} | options))


@pytest.mark.parametrize(
    ("task", "text", "message"),
    [
        ("classify", "a\tx\nb y\n", "line 2: no tab"),
        ("classify", "a\tx\nb\ty\tz\n", "line 2: more than one tab"),
        ("classify", "a\tx\nb\t\n", "line 2: no output after the tab"),
        ("classify", "a\tx\n\nb\ty\n", "line 2: a blank line"),
        ("classify", "a\tx\nb\tx\n", "only one label: 'x'"),
        ("classify", "a\tx\nb\ty\nc\tz\n", "3 labels for 3 records"),
        ("classify", "", "no records"),
        ("tag", "ab\t..\nabc\t..\n", "line 2: 3 characters and 2 tags"),
        ("tag", "ab\t..\n", "only one tag: '.'"),
        ("translate", "ab\tc\nd\n", "line 2: no tab"),
        ("translate", "ab\tc\nd\te\tf\n", "line 2: more than one tab"),
    ],
)
def test_the_error_for_an_invalid_record_names_its_line(tmp_path, task, text, message):
    with pytest.raises(CorpusError, match=message):
        read(tmp_path, task, text)


def test_lines_end_in_lf_or_crlf_and_the_last_line_needs_no_end(tmp_path):
    task = read(tmp_path, "classify", "a\tx\r\nb\ty\r\nc\tx", val_fraction=0.0)
    assert sorted(task.parts["train"]) == [("a", "x"), ("b", "y"), ("c", "x")]


@in_tmp_path
@given(
    rows=st.lists(st.tuples(texts, st.sampled_from("xyz")), min_size=12, max_size=60),
    val=st.floats(0, 0.5),
    test=st.floats(0, 0.4),
)
def test_each_record_is_in_one_part_with_all_records_of_the_same_source(tmp_path, rows, val, test):
    assume(len({label for _, label in rows}) > 1)
    text = "".join(f"{source}\t{label}\n" for source, label in rows)
    options = {"val_fraction": val, "test_fraction": test, "seed": 3}
    try:
        task = read(tmp_path, "classify", text, **options)
    except CorpusError:  # no records are left to train on
        assert len({source for source, _ in rows}) < 12
        return
    parts = task.parts
    assert Counter(pair for part in parts.values() for pair in part) == Counter(Pair(*row) for row in rows)
    sources = [{pair.source for pair in part} for part in parts.values()]
    num_sources = len(set.union(*sources))
    assert sum(map(len, sources)) == num_sources
    limits = {"val": int(len(rows) * val), "test": int(len(rows) * test)}
    for part, limit in limits.items():
        assert len(parts[part]) == limit if num_sources == len(rows) else len(parts[part]) <= limit
    same = read(tmp_path, "classify", text, **options)
    assert same.parts == parts and same.fingerprint == task.fingerprint


def test_a_part_is_not_larger_than_its_fraction_although_sources_stay_together(tmp_path):
    rows = [("yes", 700), ("no", 200), ("maybe", 40), ("never", 30), ("often", 20), ("sure", 10)]
    text = "".join(f"{source}\t{'xy'[len(source) > 3]}\n" * number for source, number in rows)
    sizes = {len(read(tmp_path, "classify", text, seed=seed).parts["val"]) for seed in range(6)}
    assert sizes <= set(range(60, 101))


def test_a_notice_says_that_a_part_is_empty(tmp_path):
    task = read(tmp_path, "classify", "yes\tx\n" * 150 + "no\ty\n" * 150)
    assert (len(task.parts["train"]), len(task.parts["val"])) == (300, 0)
    assert not task.has_validation and task.validation_pass(4, 64) is None
    (notice,) = task.notices
    assert "300 records with 2 different texts are too few to validate on" in notice


def test_the_seed_determines_how_sorted_records_are_split(tmp_path):
    text = "".join(f"{n:03d}\t{'xy'[n > 50]}\n" for n in range(100))
    parts = [read(tmp_path, "classify", text, seed=seed).parts["val"] for seed in (1, 2)]
    assert parts[0] != parts[1]
    assert all({pair.output for pair in part} == {"x", "y"} for part in parts)


def test_a_validation_file_is_validated_on_and_its_labels_are_known(tmp_path):
    (tmp_path / "val.tsv").write_text("q\tz\n")
    task = read(tmp_path, "classify", "a\tx\nb\ty\n" * 20, val_file=str(tmp_path / "val.tsv"))
    assert task.parts["val"] == [("q", "z")] and len(task.parts["train"]) == 40
    assert task.coding.labels == ("x", "y", "z") and "q" in task.coding.vocabulary
    (tmp_path / "val.tsv").write_text("")
    with pytest.raises(CorpusError, match=r"val\.tsv: no records to validate on"):
        read(tmp_path, "classify", "a\tx\nb\ty\n" * 20, val_file=str(tmp_path / "val.tsv"))


def test_a_batch_larger_than_the_data_is_refused_with_the_largest_that_fits(tmp_path):
    task = read(tmp_path, "classify", "abc\tx\nbcd\ty\n" * 40, val_fraction=0.0)
    windows = task.windows("train", 8).number
    assert task.fit_batch(windows, 8) == (windows, 8)
    with pytest.raises(UsageError, match=f"the largest that fits is {windows}"):
        task.fit_batch(windows + 1, 8)


def test_notices_report_shortened_records_and_how_full_the_windows_are(tmp_path):
    task = read(tmp_path, "classify", "abcdefgh\tx\nb\ty\n" * 20, val_fraction=0.0)
    fill, shortened = task.window_notices(4)
    assert "windows of 4 steps: 33.3% of the steps are scored, 0.0% are empty" in fill
    assert "20 records are longer than 4 steps; only their last 4 are used" in shortened
    assert len(task.window_notices(9)) == 1


@pytest.mark.parametrize("values", [[], "ab", [1], ["a", "a"], None])
def test_damaged_lists_of_names_are_refused(values):
    with pytest.raises(ValueError, match="string"):
        parse_names(values)
