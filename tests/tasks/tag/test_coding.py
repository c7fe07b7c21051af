"""The encoding of tagged texts: delay, input symbols and n-grams."""

import json

import numpy as np
import pytest

from charrnn.corpus.batch import Batch
from charrnn.corpus.windows import WindowPass
from charrnn.errors import CorpusError, UsageError
from charrnn.options import DataOptions, RunConfig
from charrnn.tasks.records import Pair
from charrnn.tasks.registry import read_task
from charrnn.tasks.tag.coding import SHORTER_SYMBOLS, TagCoding

PAIRS = [Pair("abc", "x.x"), Pair("", ""), Pair("b", ".")]
WORDS = [Pair(text, "." * (len(text) - 1) + "x") for text in ("cat", "bat", "rat", "ant")]


def join(coding, pairs):
    """The ids of the characters of all records, and the starts of the records."""
    ids = [coding.vocabulary.encode(pair.source + "\t" * coding.delay) for pair in pairs]
    return np.concatenate(ids), np.cumsum([0, *map(len, ids)])


def last_characters(coding, x):
    """The last character of each input symbol."""
    symbols = [*map(chr, coding.vocabulary.codes.tolist()), *coding.symbols.longer]
    return "".join(symbols[i][-1] for i in x.tolist())


def make_coding(pairs, delay=None, **source):
    return TagCoding.from_records(pairs, DataOptions(task="tag", delay=delay), **source)


@pytest.mark.parametrize("delay", [0, 1, 5])
def test_the_tag_of_a_character_is_the_target_of_the_step_delay_steps_later(delay):
    coding = TagCoding.from_dict({**make_coding(PAIRS).to_dict(), "delay": delay})
    records = coding.records(PAIRS[:1])
    assert last_characters(coding, records.x) == "abc" + "\t" * delay
    assert records.loss_mask.tolist() == [False] * delay + [True] * 3
    assert "".join(coding.tags[n] for n in records.targets[delay:]) == "x.x"
    records = coding.records(PAIRS)
    assert np.diff(records.starts).tolist() == [3 + delay, delay, 1 + delay]
    assert records.loss_mask.sum() == 4


def test_the_default_delay_is_below_the_length_of_the_longest_text():
    assert make_coding(PAIRS).delay == 2
    assert make_coding([Pair("abcdefghijk", ".....x.....")]).delay == 5
    assert make_coding(PAIRS, delay=9).delay == 9


def test_frequent_endings_are_input_symbols():
    coding = make_coding(WORDS, delay=1)
    assert coding.symbols.longer == ("at", "at\t", "t\t")
    assert coding.input_size == len(coding.vocabulary) + 3
    assert coding.ngrams.texts[0] == "\tabcnrt"


def test_metadata_survive_json_even_with_surrogates():
    for coding in (make_coding(WORDS), make_coding([Pair("a\ud83d\ude42", "x.x")] * 5)):
        restored = TagCoding.from_dict(json.loads(json.dumps(coding.to_dict())))
        assert restored.symbols.longer == coding.symbols.longer != ()
        assert restored.ngrams.texts == coding.ngrams.texts
        assert (restored.tags, restored.delay) == (coding.tags, coding.delay)
        assert restored.sizes == coding.sizes
    assert "a\ud83d" in coding.symbols.longer


@pytest.mark.parametrize(
    "damage",
    [
        *[{"symbols": symbols} for symbols in (["a"], ["at", "at"], ["attt"], ["az"], "at", [7])],
        *[{"delay": delay} for delay in (-1, 10**7, 1.0, None)],
        *[{"labels": labels} for labels in ([], ["ab", "c"], ["a", "a"])],
        {"bytes": True},
        {"vocabulary": [97, 98]},
        {"ngrams": None},
    ],
)
def test_damaged_metadata_are_refused(damage):
    with pytest.raises((ValueError, TypeError)):
        TagCoding.from_dict({**make_coding(WORDS, delay=1).to_dict(), **damage})


def test_a_coding_includes_the_symbols_n_grams_and_tags_of_the_model_that_it_starts_from():
    source = make_coding(WORDS, delay=1)
    coding = make_coding([Pair("dog", "!.!")] * 3, vocabulary=source.vocabulary, source=source)
    assert coding.symbols.longer == source.symbols.longer
    assert coding.ngrams.texts == source.ngrams.texts
    assert (coding.delay, coding.tags) == (1, "!.x")
    assert source.outputs_in(coding).tolist() == [1, 2]
    ids = coding.symbols.ids_of(source.symbols.longer)
    assert [coding.symbols.longer[n - len(coding.vocabulary)] for n in ids] == list(source.symbols.longer)


def test_unknown_characters_are_refused_or_skipped_with_their_tags():
    coding = make_coding([Pair("ab", "x."), Pair("ba", ".x")], delay=1)
    with pytest.raises(CorpusError, match=r"'z'.* at position 1"):
        coding.records([Pair("azb", "x?.")])
    records = coding.records([Pair("azb", "x?.")], skip_unknown=True)
    assert last_characters(coding, records.x) == "ab\t"
    assert "".join(coding.tags[n] for n in records.targets[records.loss_mask]) == "x."


def test_some_steps_of_training_read_shorter_symbols():
    coding = make_coding(WORDS * 300, delay=1)
    ids, starts = join(coding, WORDS * 300)
    records = coding.records(WORDS * 300)
    levels = coding.symbols.levels(ids, starts)
    steps = np.arange(len(ids))
    places = steps[:, None]
    batch = Batch(records.x[places], records.targets[places])
    np.testing.assert_array_equal(batch.x[:, 0], levels[-1])

    scored = records.augment(batch, places, None)
    np.testing.assert_array_equal(scored.x, batch.x)
    np.testing.assert_array_equal(scored.ngrams, coding.ngrams.locate(ids, starts).features(places))

    trained = records.augment(batch, places, np.random.default_rng(1))
    np.testing.assert_array_equal(trained.ngrams, scored.ngrams)
    is_distinct = (levels[0] != levels[1]) & (levels[1] != levels[2])
    assert is_distinct.sum() > 500
    chosen = (levels == trained.x[:, 0])[:, is_distinct]
    assert (chosen.sum(axis=0) == 1).all()
    expected = [SHORTER_SYMBOLS / 2, SHORTER_SYMBOLS / 2, 1 - SHORTER_SYMBOLS]
    np.testing.assert_allclose(chosen.mean(axis=1), expected, atol=0.05)


def test_a_tag_is_not_scored_if_its_character_is_cut_off(tmp_path):
    text = "abcdefghij\t.x.x.x.x.x\n" * 9 + "ab\t.x\n" * 9
    (tmp_path / "long.tsv").write_text(text)
    options = {"task": "tag", "delay": 3, "val_fraction": 0.0}
    task = read_task(RunConfig.from_options([str(tmp_path / "long.tsv")], options))
    windows = task.windows("train", 5)
    batch = WindowPass(windows, windows.number).batch(0)
    assert batch.x.shape == (5, 18)
    assert batch.num_scored == 9 * 2 + 9 * 2 == windows.num_scored
    ends = task.coding.vocabulary.encode("ij\t\t\t").tolist()
    places = WindowPass(windows, windows.number).places(0).T
    ids, _ = join(task.coding, task.parts["train"])
    masks = [mask for row, mask in zip(places, batch.loss_mask.T.tolist(), strict=True) if ids[row].tolist() == ends]
    assert masks == [[0, 0, 0, 1, 1]] * 9
    with pytest.raises(UsageError, match=r"windows of 3 steps contain no step that is scored \(raise --seq-length"):
        task.fit_batch(None, 3)
