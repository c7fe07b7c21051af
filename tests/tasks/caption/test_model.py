"""A trained model of captions: the texts that it writes, and their losses."""

import numpy as np
import pytest

from charrnn.corpus.numbers import Standardizer
from charrnn.corpus.vocabulary import Vocabulary
from charrnn.errors import CorpusError, UsageError
from charrnn.nn.parameters import count_parameters, named_views
from charrnn.nn.stack import CELLS
from charrnn.options import ModelOptions, SamplingOptions
from charrnn.runs.checkpoint import Checkpoint
from charrnn.tasks.base import EvaluationFile
from charrnn.tasks.caption import model as caption_model
from charrnn.tasks.caption.coding import CaptionCoding
from charrnn.tasks.caption.model import Captioner

VECTORS = np.random.default_rng(1).standard_normal((5, 3))
OPTIONS = SamplingOptions(temperature=1.0)


@pytest.fixture(params=[(cell, embedding_size) for cell in CELLS for embedding_size in (0, 4)], ids=str)
def model(request):
    """A model with random parameters."""
    cell, embedding_size = request.param
    coding = CaptionCoding(Vocabulary.of_texts(["\n", "abcd"]), Standardizer.fit(VECTORS), 20)
    architecture = coding.architecture(ModelOptions(cell, 6, 2, embedding_size))
    flat = np.random.default_rng(5).normal(0, 0.8, count_parameters(architecture.specs()))
    named_views(architecture.specs(), flat)["head.bias"][0] += 1  # line ends are frequent
    return Captioner(Checkpoint(architecture, coding.to_dict(), flat))


def test_the_nats_of_a_text_are_its_score_given_the_vector(model):
    written = model.write(VECTORS, OPTIONS, range(5))
    limit = 2 * model.coding.longest + 10
    assert any(len(text) < limit for text, _ in written)
    for vector, (text, nats) in zip(VECTORS, written, strict=True):
        if len(text) < limit:  # otherwise the text has no end
            assert model.score(text, vector) == pytest.approx(nats)


def test_a_text_depends_only_on_its_vector_and_its_seed(model, monkeypatch):
    together = model.write(VECTORS, OPTIONS, range(5))
    assert [model.write([vector], OPTIONS, [n])[0][0] for n, vector in enumerate(VECTORS)] == [t for t, _ in together]
    monkeypatch.setattr(caption_model, "MAX_STREAMS", 2)
    assert [text for text, _ in model.write(VECTORS, OPTIONS, range(5))] == [text for text, _ in together]


def test_a_text_continues_the_prime_and_has_at_most_the_given_length(model):
    greedy = SamplingOptions(greedy=True)
    named_views(model.architecture.specs(), model.parameters)["head.bias"][0] = -30  # no line ends
    for vector in VECTORS:
        ((whole, _),) = model.write([vector], greedy, [1], length=9)
        assert len(whole) == 9
        ((text, _),) = model.write([vector], greedy, [1], prime=whole[:3], length=6)
        assert text == whole[3:]
    ((text, _),) = model.write(VECTORS[:1], greedy, [1])
    assert len(text) == 2 * model.coding.longest + 10


def test_the_evaluation_is_the_mean_over_all_characters_and_line_ends(model):
    texts = ["abc", "", "dd", "abcdabcd", "a"]
    result = model.evaluate_texts(texts, VECTORS)
    losses = [model.score(text, vector) * (len(text) + 1) for text, vector in zip(texts, VECTORS, strict=True)]
    assert (result["records"], result["chars"]) == (5, 14 + 5)
    assert result["loss"] == pytest.approx(sum(losses) / 19)
    assert result["perplexity"] == pytest.approx(2 ** result["bpc"])


def test_vectors_of_another_width_and_unknown_characters_are_refused(model):
    with pytest.raises(CorpusError, match="features 5x2: the model needs rows of 3 numbers"):
        model.write(VECTORS[:, :2], OPTIONS, range(5))
    with pytest.raises(CorpusError, match="'z'"):
        model.write(VECTORS, OPTIONS, range(5), prime="z")


def test_a_file_is_evaluated_with_one_vector_per_line(model, tmp_path):
    (tmp_path / "lines.txt").write_text("abc\nd\n")
    np.save(tmp_path / "two.npy", VECTORS[:2])
    np.save(tmp_path / "three.npy", VECTORS[:3])
    file = EvaluationFile(str(tmp_path / "lines.txt"), str(tmp_path / "two.npy"))
    assert model.evaluate_file(file) == model.evaluate_texts(["abc", "d"], VECTORS[:2])
    with pytest.raises(CorpusError, match=r"three\.npy: 3 rows for 2 lines of"):
        model.evaluate_file(EvaluationFile(str(tmp_path / "lines.txt"), str(tmp_path / "three.npy")))
    with pytest.raises(UsageError, match="--features"):
        model.evaluate_file(EvaluationFile(str(tmp_path / "lines.txt")))
