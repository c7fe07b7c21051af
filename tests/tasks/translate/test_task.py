"""The task `translate`: its files, separators, batches, and the models that it starts from."""

import numpy as np
import pytest

from charrnn.errors import CorpusError, UsageError
from charrnn.models.transfer import initial_parameters
from charrnn.nn.parameters import named_views
from charrnn.options import RunConfig
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.encoder_decoder.coding import SourceRecord
from charrnn.tasks.encoder_decoder.symbols import END
from charrnn.tasks.registry import make_model, read_task

PAIRS = "".join(f"{n:02d}\t{'ab'[n % 2]}{n // 10}\n" for n in range(60))


def make_config(tmp_path, text, **options):
    (tmp_path / "pairs.tsv").write_text(text)
    return RunConfig.from_options([str(tmp_path / "pairs.tsv")], {"task": "translate", "hidden_size": 4} | options)


def read(tmp_path, text, source=None, **options):
    return read_task(make_config(tmp_path, text, **options), source)


def make_checkpoint(tmp_path, text, **options):
    """A model with its initial parameters."""
    config = make_config(tmp_path, text, **options)
    task = read_task(config)
    architecture = task.architecture(config.model)
    return Checkpoint(architecture, task.metadata(), initial_parameters(architecture, 7))


def test_records_are_split_and_encoded(tmp_path):
    task = read(tmp_path, PAIRS, val_fraction=0.2, test_fraction=0.1)
    assert {part: len(records) for part, records in task.parts.items()} == {"train": 42, "val": 12, "test": 6}
    assert task.coding.source.symbols == tuple("0123456789")
    assert task.coding.target.symbols == tuple("012345ab")
    assert (task.coding.longest, task.vocabulary_size, task.training_size) == (2, 9, 42 * (3 + 3))
    assert "10 source symbols, 8 target symbols, 42 records to train on, 12 to validate, 6 to test" in task.describe()
    assert task.has_validation and task.notices == []


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_predictions_are_scored_in_the_composed_form(tmp_path, form):
    text = "a\t\uac00\nb\tge\u0301\n" * 3
    model = make_model(make_checkpoint(tmp_path, text, normalize=form))
    records = [SourceRecord("a", "\uac00"), SourceRecord("b", "g\u00e9")]
    model.rank = lambda sources, **_: [[("\uac00", -1.0)], [("g\u00e9", -1.0)]]
    scores = model.evaluate_records(records)
    assert (scores["exact"], scores["cer"], scores["chars"]) == (1, 0, 3)
    decomposed = [SourceRecord("a", "\u1100\u1161"), SourceRecord("b", "ge\u0301")]
    assert model.evaluate_records(decomposed) == scores


def test_separators_divide_sources_and_targets_into_symbols(tmp_path):
    task = read(tmp_path, "t a\td+aa\naa t\taa\n", source_separator=" ", target_separator="+", val_fraction=0.0)
    assert task.coding.source.symbols == ("a", "aa", "t")
    assert task.coding.target.symbols == ("aa", "d")
    assert task.coding.longest == 2
    task = read(tmp_path, "t a\td aa\n", val_fraction=0.0)
    assert task.coding.source.symbols == (" ", "a", "t")


def test_sources_of_many_different_syllables_are_decomposed_and_targets_are_not(tmp_path):
    syllables = [chr(0xAC00 + 27 * n) for n in range(410)]
    pairs = "".join(f"{syllable}\t{syllable}é\n" for syllable in syllables)
    task = read(tmp_path, pairs, val_fraction=0.0)
    assert (task.coding.source.form, task.coding.target.form) == ("NFD", "NFC")
    assert (len(task.coding.source.symbols), len(task.coding.target.symbols)) == (67, 411)
    assert task.coding.encode_source("힌").shape == (4,)  # a new syllable of three known letters, and the end
    assert task.coding.source.find_unknown("가힌é") == [(2, "character 'é'")]
    assert read(tmp_path, pairs, val_fraction=0.0, normalize="none").coding.source.symbols == tuple(syllables)
    few = read(tmp_path, "한é\té\n", val_fraction=0.0)
    assert few.coding.source.symbols == ("é", "한")


@pytest.mark.parametrize(("option", "flag"), [("source_separator", "--source-"), ("target_separator", "--target-")])
def test_a_separator_that_is_in_no_record_is_refused(tmp_path, option, flag):
    with pytest.raises(UsageError, match=rf"{flag}separator '\+': does not occur"):
        read(tmp_path, "a b\tc d\n", **{option: "+"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"pairs\.tsv: no records"),
        ("ab\tc\nd\n", r"pairs\.tsv, line 2: no tab"),
        ("ab\tc\nd\te\tf\n", r"pairs\.tsv, line 2: more than one tab"),
        ("ab\tc\nd\t\n", r"pairs\.tsv, line 2: no output"),
    ],
)
def test_the_error_for_an_invalid_record_names_file_and_line(tmp_path, text, message):
    with pytest.raises(CorpusError, match=message):
        read(tmp_path, text)


def test_a_validation_file_is_validated_on_and_its_symbols_are_known(tmp_path):
    (tmp_path / "val.tsv").write_text("ab\tzzz\n")
    task = read(tmp_path, "a\tx\nb\ty\n" * 20, val_file=str(tmp_path / "val.tsv"))
    assert task.parts["val"] == [("ab", "zzz")] and len(task.parts["train"]) == 40
    assert task.coding.target.symbols == ("x", "y", "z") and task.coding.longest == 3
    (tmp_path / "val.tsv").write_text("")
    with pytest.raises(CorpusError, match=r"val\.tsv: no records to validate on"):
        read(tmp_path, "a\tx\nb\ty\n", val_file=str(tmp_path / "val.tsv"))


def test_without_validation_records_nothing_is_validated(tmp_path):
    task = read(tmp_path, "a\tx\n")
    assert not task.has_validation and task.validation_pass(1, 9) is None
    assert "too few to validate on" in task.notices[0]


def test_default_batches_hold_whole_records(tmp_path):
    task = read(tmp_path, "abcdef\txyz\n" + "a\tx\n" * 19, val_fraction=0.0)
    batch_size, seq_length = task.fit_batch(None, None)
    assert (batch_size, seq_length) == (8, 7)  # the smallest default; six characters and the end
    assert task.window_notices(seq_length) == []
    assert task.fit_batch(20, 5) == (20, 5)
    with pytest.raises(UsageError, match=r"--batch-size 21: .* 20 records .*largest that fits is 20"):
        task.fit_batch(21, None)


def test_longer_sources_and_targets_are_shortened_and_a_notice_says_so(tmp_path):
    task = read(tmp_path, "abcdef\txyz\n" + "a\tx\n" * 19, val_fraction=0.0)
    records = task.training_stream(20, 3, seed=1).records
    longest = max(range(20), key=lambda n: len(records.sources[n]))
    assert task.coding.source.decode(records.sources[longest]) == "abc"
    assert task.coding.target.decode(records.targets[longest]) == "xy"
    assert records.target_lengths.max() == records.source_lengths.max() == 3
    sources, targets = task.window_notices(3)
    assert sources.startswith("1 sources are longer than 3 steps")
    assert targets.startswith("1 targets are longer than 3 steps")


def test_the_validation_scores_every_record_once(tmp_path):
    task = read(tmp_path, PAIRS, val_fraction=0.2)
    validation = task.validation_pass(5, 3)
    assert (validation.steps, validation.predictions) == (3, 12 * 3)
    scores = task.scores(np.array([np.log(2), 0.25]))
    assert (scores.loss, scores.bpc, scores.accuracy) == (pytest.approx(np.log(2)), pytest.approx(1), 0.25)


def test_previews_and_test_scores_are_those_of_the_model(tmp_path):
    task = read(tmp_path, PAIRS, val_fraction=0.2, test_fraction=0.1)
    checkpoint = make_checkpoint(tmp_path, PAIRS, val_fraction=0.2, test_fraction=0.1)
    model = make_model(checkpoint)
    assert task.preview(checkpoint, seed=1) == model.preview(task.parts["val"])
    assert task.evaluate_test(checkpoint) == model.evaluate_records(task.parts["test"])
    assert read(tmp_path, PAIRS).evaluate_test(checkpoint) is None


def test_the_fingerprint_depends_on_the_records_and_not_on_their_split(tmp_path):
    tasks = [
        read(tmp_path, PAIRS),
        read(tmp_path, PAIRS, seed=9, val_fraction=0.3),
        read(tmp_path, PAIRS.replace("a", "c")),
        read(tmp_path, PAIRS.replace("0", "c", 1)),
    ]
    fingerprints = [task.fingerprint for task in tasks]
    assert fingerprints[0] == fingerprints[1]
    assert len(set(fingerprints)) == 3


@pytest.mark.parametrize("options", [{}, {"embedding_size": 3}, {"attention": False}, {"num_layers": 2}], ids=str)
def test_a_run_that_starts_from_a_model_keeps_the_weights_of_every_symbol(tmp_path, options):
    source = make_checkpoint(tmp_path, "bc\tyz\ncb\tz\n", **options)
    config = make_config(tmp_path, "ab\txy\nd\ty\n", **options)
    task = read_task(config, source)
    assert task.coding.source.symbols == tuple("abcd")
    assert task.coding.target.symbols == tuple("xyz")
    assert task.coding.longest == 2
    architecture = task.architecture(config.model)
    flat = task.initial_parameters(source, architecture, 1)
    new = named_views(architecture.specs(), flat)
    fresh = named_views(architecture.specs(), initial_parameters(architecture, 1))
    source_ids = [END, 2, 3]  # of END, b and c
    target_ids = [END, 2, 3]  # of END, y and z
    symbols = {  # for each parameter of the symbols the axis of the symbols, and the new ids of the old symbols
        "head.weight": (0, target_ids),
        "head.bias": (0, target_ids),
        "embedding.weight": (0, target_ids),
        "source_embedding.weight": (0, source_ids),
    }
    if not options.get("embedding_size"):
        symbols["rnn.weight_ih_l0"] = (1, target_ids)
        symbols["encoder.weight_ih_l0"] = symbols["encoder.weight_ih_l0_reverse"] = (1, source_ids)
    for name, old in source.weights.items():
        if name in symbols:
            axis, ids = symbols[name]
            np.testing.assert_array_equal(np.take(new[name], ids, axis), old, err_msg=name)
            others = np.setdiff1d(np.arange(new[name].shape[axis]), ids)
            np.testing.assert_array_equal(
                np.take(new[name], others, axis), np.take(fresh[name], others, axis), err_msg=name
            )
        else:
            np.testing.assert_array_equal(new[name], old, err_msg=name)
    assert set(new) == set(source.weights)


def test_a_run_that_starts_from_a_model_with_the_same_symbols_has_its_answers(tmp_path):
    source = make_checkpoint(tmp_path, PAIRS)
    config = make_config(tmp_path, PAIRS)
    task = read_task(config, source)
    assert task.metadata() == source.task
    flat = task.initial_parameters(source, task.architecture(config.model), 1)
    np.testing.assert_array_equal(flat, source.parameters)


def test_the_longest_target_of_the_model_that_a_run_starts_from_counts(tmp_path):
    source = make_checkpoint(tmp_path, "a\txxxxx\n")
    assert read(tmp_path, "a\tx\n", source).coding.longest == 5


def test_a_model_of_another_task_is_refused(tmp_path):
    (tmp_path / "lines.tsv").write_text("ab\tx\nba\ty\n" * 5)
    other = RunConfig.from_options([str(tmp_path / "lines.tsv")], {"task": "classify", "hidden_size": 4})
    task = read_task(other)
    architecture = task.architecture(other.model)
    source = Checkpoint(architecture, task.metadata(), initial_parameters(architecture, 1))
    with pytest.raises(UsageError, match="--init-from: a model of --task classify"):
        read(tmp_path, PAIRS, source)
