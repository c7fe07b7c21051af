"""A trained model of captions: the texts that it writes, its answers for vectors, and its evaluation of a file."""

import numpy as np
import pytest

from charrnn.corpus.numbers import Standardizer
from charrnn.errors import CorpusError, UsageError
from charrnn.nn.parameters import named_views
from charrnn.options import SamplingOptions
from charrnn.tasks.base import EvaluationFile, PredictionOptions
from charrnn.tasks.caption.coding import CaptionCoding
from charrnn.tasks.caption.model import Captioner
from charrnn.tasks.caption.vectors import read_records, to_matrices
from charrnn.tasks.encoder_decoder.symbols import END, Symbols

VECTORS = np.random.default_rng(1).standard_normal((5, 3))
MATRICES = to_matrices(VECTORS, "vectors")
OPTIONS = SamplingOptions(temperature=1.0)


@pytest.fixture(params=["gru", "lstm"])
def model(request, source_model):
    coding = CaptionCoding(Standardizer.fit(VECTORS), 1, Symbols(tuple("abcd")), longest=20)
    model = source_model(Captioner, coding, cell=request.param)
    named_views(model.architecture.specs(), model.parameters)["head.bias"][END] += 1  # ends are frequent
    return model


def test_the_nats_of_a_text_are_its_score_given_the_vector(model):
    written = model.write(VECTORS, OPTIONS, range(5))
    limit = 2 * model.coding.longest + 10
    assert any(len(text) < limit for text, _ in written)
    for matrix, (text, nats) in zip(MATRICES, written, strict=True):
        if len(text) < limit:  # otherwise the text has no end
            assert model.score(matrix, text) == pytest.approx(nats)


def test_a_text_depends_only_on_its_vector_and_its_seed(model):
    together = model.write(VECTORS, OPTIONS, range(5))
    assert [model.write([vector], OPTIONS, [n])[0][0] for n, vector in enumerate(VECTORS)] == [t for t, _ in together]


def test_a_text_continues_the_prime_and_has_at_most_the_given_length(model):
    greedy = SamplingOptions(greedy=True)
    named_views(model.architecture.specs(), model.parameters)["head.bias"][END] = -30  # no ends
    for vector in VECTORS:
        ((whole, _),) = model.write([vector], greedy, [1], length=9)
        assert len(whole) == 9
        ((text, _),) = model.write([vector], greedy, [1], prime=whole[:3], length=6)
        assert text == whole[3:]
    ((text, _),) = model.write(VECTORS[:1], greedy, [1])
    assert len(text) == 2 * model.coding.longest + 10


def test_a_line_of_text_is_refused(model):
    with pytest.raises(UsageError, match=r"reads vectors, not lines of text \(use charrnn sample --features"):
        model.predict_records(["1,2,3"], PredictionOptions())
    answers = model.predict_records(MATRICES, PredictionOptions())
    assert [answer["output"] for answer in answers] == [text for ((text, _),) in model.rank(MATRICES)]


def test_vectors_of_another_width_and_unknown_characters_are_refused(model):
    with pytest.raises(CorpusError, match=r"features, row 1: 2 columns \(the model reads 3 columns\)"):
        model.write(VECTORS[:, :2], OPTIONS, range(5))
    with pytest.raises(CorpusError, match="features: an array with 1 dimensions"):
        model.write(VECTORS[0], OPTIONS, range(5))
    with pytest.raises(CorpusError, match="'z'"):
        model.write(VECTORS, OPTIONS, range(5), prime="z")


def test_a_file_is_evaluated_with_one_vector_per_line(model, tmp_path):
    lines = tmp_path / "lines.txt"
    lines.write_text("abc\nd\n")
    np.save(tmp_path / "two.npy", VECTORS[:2])
    np.save(tmp_path / "three.npy", VECTORS[:3])
    two = str(tmp_path / "two.npy")
    result = model.evaluate_file(EvaluationFile(str(lines), two))
    assert result == model.evaluate_records(read_records([str(lines)], two, "utf-8", []))
    assert result["records"] == 2
    best = [text for ((text, _),) in model.rank(MATRICES[:2])]
    lines.write_text("".join(text + "\n" for text in best))
    assert model.evaluate_file(EvaluationFile(str(lines), two))["exact"] == 1
    with pytest.raises(CorpusError, match=r"three\.npy: 3 rows for 2 lines of"):
        model.evaluate_file(EvaluationFile(str(lines), str(tmp_path / "three.npy")))
    with pytest.raises(UsageError, match="--features"):
        model.evaluate_file(EvaluationFile(str(lines)))
