"""Records: what is none is named, how they are dealt out, what steps they become."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charrnn.corpus.windows import Records
from charrnn.errors import CorpusError, UsageError
from charrnn.options import RunConfig
from charrnn.tasks.classify.model import Classes
from charrnn.tasks.records import Pair, RecordTask
from charrnn.tasks.registry import CODINGS, imported
from charrnn.tasks.tag.model import Tags
from charrnn.tasks.translate.model import Pairs, edit_distance

in_tmp_path = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
characters = st.characters(exclude_categories=("Cs",), exclude_characters="\t\n\r\ufeff")
texts = st.text(characters, max_size=8)


def task_of(tmp_path, kind, text, **options):
    path = tmp_path / "r.tsv"
    path.write_bytes(text.encode())
    return RecordTask.read(imported(CODINGS[kind]), RunConfig.from_options([str(path)], {"task": kind} | options))


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("classify", "a\tx\nb y\n", "line 2: no tab"),
        ("classify", "a\tx\nb\ty\tz\n", "line 2: more than one tab"),
        ("classify", "a\tx\nb\t\n", "line 2: nothing behind the tab"),
        ("classify", "a\tx\n\nb\ty\n", "line 2: no tab"),
        ("classify", "a\tx\nb\tx\n", "only one class: 'x'"),
        ("classify", "a\tx\nb\ty\nc\tz\n", "3 classes for 3 records"),
        ("classify", "", "no records"),
        ("tag", "ab\t..\nabc\t..\n", "line 2: 3 characters and 2 tags"),
        ("tag", "ab\t..\n", "only one tag: '.'"),
        ("translate", "ab\tc\nd\n", "line 2: no tab"),
        ("translate", "ab\tc\nd\te\tf\n", "line 2: more than one tab"),
    ],
)
def test_a_line_that_is_no_record_is_named(tmp_path, kind, text, message):
    with pytest.raises(CorpusError, match=message):
        task_of(tmp_path, kind, text)


@in_tmp_path
@given(
    st.lists(st.tuples(texts, st.sampled_from("xyz")), min_size=12, max_size=60), st.floats(0, 0.5), st.floats(0, 0.4)
)
def test_records_are_dealt_out_once_each_and_those_of_one_source_together(tmp_path, rows, val, test):
    if len({label for _, label in rows}) < 2:
        return
    text = "".join(f"{source}\t{label}\n" for source, label in rows)
    try:
        task = task_of(tmp_path, "classify", text, val_fraction=val, test_fraction=test, seed=3)
    except CorpusError:  # nothing is left to train on
        assert len({source for source, _ in rows}) < 12
        return
    parts = task.parts
    assert Counter(pair for part in parts.values() for pair in part) == Counter(Pair(*row) for row in rows)
    sources = [{pair.source for pair in part} for part in parts.values()]
    assert sum(map(len, sources)) == len(set.union(*sources))
    assert len(parts["val"]) <= int(len(rows) * val) and len(parts["test"]) <= int(len(rows) * test)
    if len(set.union(*sources)) == len(rows):
        assert len(parts["val"]) == int(len(rows) * val) and len(parts["test"]) == int(len(rows) * test)
    other = task_of(tmp_path, "classify", text, val_fraction=val, test_fraction=test, seed=3)
    assert other.parts == parts and other.fingerprint == task.fingerprint


def test_records_with_one_text_stay_together_and_take_no_more_than_the_share(tmp_path):
    rows = [("yes", 700), ("no", 200), ("maybe", 40), ("never", 30), ("often", 20), ("sure", 10)]
    text = "".join(f"{source}\t{'xy'[len(source) > 3]}\n" * number for source, number in rows)
    sizes = {len(task_of(tmp_path, "classify", text, seed=seed).parts["val"]) for seed in range(6)}
    assert sizes <= set(range(60, 101))
    task = task_of(tmp_path, "classify", "yes\tx\n" * 150 + "no\ty\n" * 150)
    assert (len(task.parts["train"]), len(task.parts["val"])) == (300, 0)
    assert "too few records to validate on: 300, with 2 different texts; all are trained on" in task.notices


def test_another_seed_deals_sorted_records_out_otherwise(tmp_path):
    text = "".join(f"{n:03d}\t{'xy'[n > 50]}\n" for n in range(100))
    dealt = [task_of(tmp_path, "classify", text, seed=seed).parts["val"] for seed in (1, 2)]
    assert dealt[0] != dealt[1]
    assert all({pair.output for pair in part} == {"x", "y"} for part in dealt)


def test_lines_may_end_in_cr_lf_and_the_last_in_nothing(tmp_path):
    task = task_of(tmp_path, "classify", "a\tx\r\nb\ty\r\nc\tx", val_fraction=0.0)
    assert sorted(task.parts["train"]) == [("a", "x"), ("b", "y"), ("c", "x")]


def scored(records: Records, n):
    """The characters of a record, its targets, and which steps are scored."""
    steps = slice(*records.starts[n : n + 2])
    x = records.x if records.levels is None else records.levels[0]
    return x[steps], records.targets[steps], records.weights[steps]


def test_a_class_is_asked_for_at_the_tab_alone():
    pairs = [Pair("ab", "no"), Pair("", "yes"), Pair("b", "no")]
    coding = Classes.of(pairs, None)
    records = coding.records(pairs)
    x, targets, weights = scored(records, 0)
    assert coding.vocabulary.decode(x) == "ab\t" and weights.tolist() == [0, 0, 1]
    assert coding.labels[targets[-1]] == "no"
    assert coding.vocabulary.decode(scored(records, 1)[0]) == "\t"
    assert Classes.from_dict(coding.to_dict()).labels == coding.labels


@pytest.mark.parametrize("delay", [0, 1, 5])
def test_a_tag_is_asked_for_so_many_steps_behind_its_character(delay):
    pairs = [Pair("abc", "x.x"), Pair("", ""), Pair("b", ".")]
    coding = Tags.from_dict({**Tags.of(pairs, RunConfig.from_options([], {}).text).to_dict(), "delay": delay})
    records = coding.records(pairs)
    x, targets, weights = scored(records, 0)
    assert coding.vocabulary.decode(x) == "abc" + "\t" * delay
    assert weights.tolist() == [0] * delay + [1] * 3
    assert "".join(coding.tags[n] for n in targets[delay:]) == "x.x"
    assert records.weights.sum() == 4


def test_a_tagger_reads_what_is_common_as_one_symbol_and_says_so_in_its_checkpoint():
    pairs = [Pair(text, "." * (len(text) - 1) + "x") for text in ("cat", "bat", "rat", "ant")]
    coding = Tags.of(pairs, RunConfig.from_options([], {"task": "tag", "delay": 1}).text)
    assert coding.grams.longer == ("at", "at\t", "t\t")
    again = Tags.from_dict({"name": "tag", **coding.to_dict()})
    assert (again.grams.longer, again.input_size) == (coding.grams.longer, len(coding.vocabulary) + 3)
    assert again.strings.texts == coding.strings.texts and coding.strings.texts[0] == "\tabcnrt"
    with pytest.raises(ValueError, match="of bytes"):
        Tags.from_dict({**coding.to_dict(), "bytes": True})
    halves = Tags.of([Pair("a\ud83d\ude42", "x.x")] * 5, RunConfig.from_options([], {"task": "tag"}).text)
    again = Tags.from_dict(json.loads(json.dumps(halves.to_dict())))
    assert again.grams.longer == halves.grams.longer and "a\ud83d" in again.grams.longer
    for wrong in (["a"], ["at", "at"], ["attt"], ["az"], "at", [7]):
        with pytest.raises((ValueError, TypeError)):
            Tags.from_dict({**coding.to_dict(), "grams": wrong})
    text = RunConfig.from_options([], {"task": "tag"}).text
    more = Tags.of([Pair("dog", "..x")] * 3, text, coding.vocabulary, coding)
    assert more.grams.longer == coding.grams.longer  # as the model that it goes on with
    places = coding.inputs_in(more)
    assert [more.grams.longer[n - len(more.vocabulary)] for n in places[-3:]] == list(coding.grams.longer)
    assert more.vocabulary.decode(places[:-3]) == coding.vocabulary.decode(range(len(coding.vocabulary)))


def test_no_tag_of_a_character_that_a_window_has_lost_is_scored(tmp_path):
    task = task_of(tmp_path, "tag", "abcdefghij\t.x.x.x.x.x\n" * 9 + "ab\t.x\n" * 9, delay=3, val_fraction=0.0)
    windows = task.windows("train", 5)
    batch = windows.batch(np.arange(windows.number))
    x, weights = batch.x.T, batch.weights.T
    long = task.coding.vocabulary.encode("ij\t\t\t").tolist()
    levels = windows.records.levels[0][windows.places]
    assert [w.tolist() for row, w in zip(levels.tolist(), weights, strict=True) if row == long] == [[0, 0, 0, 1, 1]] * 9
    assert x.shape == (18, 5) and weights.sum() == 18 + 18 == windows.scored
    with pytest.raises(UsageError, match=r"windows of 3 steps hold nothing that is scored \(raise --seq-length"):
        task_of(tmp_path, "tag", "abcdefghij\t.x.x.x.x.x\n" * 9, delay=3).fit_batch(None, 3)


def test_a_target_is_asked_for_behind_the_tab_with_the_line_end_last():
    pairs = [Pair("ab", "cd"), Pair("", "c")]
    coding = Pairs.of(pairs, None)
    x, targets, weights = scored(coding.records(pairs), 0)
    decode = coding.vocabulary.decode
    assert (decode(x), decode(targets), weights.tolist()) == ("ab\tcd", "b\tcd\n", [0, 0, 1, 1, 1])
    x, targets, weights = scored(coding.records(pairs), 1)
    assert (decode(x), decode(targets), weights.tolist()) == ("\tc", "c\n", [1, 1])


@settings(max_examples=150, deadline=None)
@given(st.text("abc", max_size=6), st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_edit_distance_is_a_metric_that_counts_changes(a, b, c):
    assert edit_distance(a, a) == 0
    assert edit_distance(a, b) == edit_distance(b, a) >= abs(len(a) - len(b))
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)
    assert (edit_distance(a, b) > 0) == (a != b)
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance("", a) == len(a)


def test_unknown_characters_are_named_or_skipped_with_their_tags():
    pairs = [Pair("ab", "x."), Pair("ba", ".x")]
    coding = Tags.of(pairs, RunConfig.from_options([], {"task": "tag", "delay": 1}).text)
    with pytest.raises(CorpusError, match="'z'"):
        coding.records([Pair("azb", "x?.")])
    x, targets, weights = scored(coding.records([Pair("azb", "x?.")], skip_unknown=True), 0)
    assert coding.vocabulary.decode(x) == "ab\t"
    assert "".join(coding.tags[n] for n in np.asarray(targets)[weights]) == "x."
