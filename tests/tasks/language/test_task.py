"""The task of a language model: batch sizes that fit the corpus, validation and test."""

import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charrnn.corpus.vocabulary import Vocabulary
from charrnn.errors import UsageError
from charrnn.models.transfer import initial_parameters
from charrnn.options import RunConfig
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.language.corpus import Corpus
from charrnn.tasks.language.model import TextModel
from charrnn.tasks.language.task import LanguageTask
from charrnn.tasks.registry import read_task


def fit(pairs, batch_size, seq_length):
    ids = np.zeros(pairs + 1, np.uint8)
    corpus = Corpus(Vocabulary(np.array([97], np.uint32)), False, ids, ids[:0], ids[:0], "", ())
    return LanguageTask(corpus).fit_batch(batch_size, seq_length)


@settings(max_examples=500, deadline=None)
@given(st.integers(1, 3000), st.none() | st.integers(1, 300), st.none() | st.integers(1, 300))
@example(pairs=50, batch_size=4, seq_length=100)
def test_a_batch_fits_the_corpus_or_the_error_names_the_largest_that_does(pairs, batch_size, seq_length):
    try:
        fitted = fit(pairs, batch_size, seq_length)
    except UsageError as error:
        option, largest = re.match(r"--(\S+) .*largest that fits is (\d+)", str(error)).groups()
        sizes = {"batch-size": batch_size, "seq-length": seq_length}
        if any(size and size > pairs for name, size in sizes.items() if name != option):
            sizes = {option: sizes[option]}  # no value of this option fits, because the other value is too large
        smaller = sizes | {option: int(largest)}
        larger = sizes | {option: int(largest) + 1}
        fit(pairs, smaller.get("batch-size"), smaller.get("seq-length"))
        if len(sizes) == 2:
            with pytest.raises(UsageError):
                fit(pairs, larger["batch-size"], larger["seq-length"])
        return
    assert fitted[0] * fitted[1] <= pairs
    assert all(given in (None, size) for given, size in zip((batch_size, seq_length), fitted, strict=True))


def read(tmp_path, *texts, **options):
    paths = [tmp_path / f"text{n}.txt" for n in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    config = RunConfig.from_options(list(map(str, paths)), {"hidden_size": 4} | options)
    task = read_task(config)
    architecture = task.architecture(config.model)
    return task, Checkpoint(architecture, task.metadata(), initial_parameters(architecture, 1))


@pytest.mark.parametrize("lines", [False, True])
def test_the_test_part_is_scored_like_a_text_of_its_own(lines, tmp_path):
    text = "abc\ncab\nbac\n" * 20
    task, checkpoint = read(tmp_path, text, lines=lines, test_fraction=0.2)
    result = task.evaluate_test(checkpoint)
    test_text = task.corpus.vocabulary.decode(task.corpus.test[1:])
    assert text.endswith(test_text)
    assert result["chars"] == len(test_text)
    assert result["loss"] == pytest.approx(TextModel(checkpoint).score(test_text), rel=1e-6)
    task, checkpoint = read(tmp_path, text, lines=lines)
    assert task.evaluate_test(checkpoint) is None


def test_each_file_of_the_test_part_is_scored_like_a_text_of_its_own(tmp_path):
    texts = ["abc\ncab\n" * 5, "bac\nbca\n" * 3, "cab\n"]
    task, checkpoint = read(tmp_path, *texts, test_fraction=0.7)
    model = TextModel(checkpoint)
    test_text = task.corpus.vocabulary.decode(task.corpus.test[1:])
    in_first_file = test_text.removesuffix(texts[1] + texts[2])
    assert 0 < len(in_first_file) < len(texts[0])
    nats = [len(text) * model.score(text) for text in (in_first_file, *texts[1:])]
    assert task.evaluate_test(checkpoint)["loss"] == pytest.approx(sum(nats) / len(test_text), rel=1e-5)
    assert model.score(test_text) != pytest.approx(sum(nats) / len(test_text), rel=1e-3)


def test_a_preview_depends_on_the_seed(tmp_path):
    task, checkpoint = read(tmp_path, "the quick brown fox\n" * 20)
    assert len(task.preview(checkpoint, 1)) == 200
    assert task.preview(checkpoint, 1) == task.preview(checkpoint, 1) != task.preview(checkpoint, 2)


def test_a_text_without_validation_part_has_no_validation_pass(tmp_path):
    task, _ = read(tmp_path, "abc" * 20, val_fraction=0.0)
    assert not task.has_validation and task.validation_pass(2, 8) is None
    task, _ = read(tmp_path, "abc" * 20, val_fraction=0.5)
    assert task.validation_pass(2, 8).predictions == 30
