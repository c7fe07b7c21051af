"""A trained transcriber: its answers for files, and the evaluation of a file."""

from dataclasses import replace

import numpy as np
import pytest

from charrnn.corpus.numbers import Standardizer
from charrnn.errors import CorpusError
from charrnn.options import DataOptions, SamplingOptions
from charrnn.tasks.base import EvaluationFile, PredictionOptions
from charrnn.tasks.encoder_decoder.matrices import Matrix
from charrnn.tasks.encoder_decoder.symbols import Symbols
from charrnn.tasks.transcribe.coding import TranscriptCoding
from charrnn.tasks.transcribe.matrices import read_matrices, read_matrix
from charrnn.tasks.transcribe.model import Transcriber


@pytest.fixture(params=[1, 3])
def model(request, source_model):
    scale = Standardizer(np.array([1.0, -2.0]), np.array([2.0, 0.5]))
    return source_model(Transcriber, TranscriptCoding(scale, request.param, Symbols(tuple(" abc")), longest=3))


@pytest.fixture
def paths(tmp_path):
    """Three matrices of different lengths."""
    rng = np.random.default_rng(1)
    paths = []
    for n in (1, 4, 7):
        paths.append(str(tmp_path / f"{n}.npy"))
        np.save(paths[-1], rng.standard_normal((n, 2)))
    return paths


def evaluate(model, tmp_path, text, **options):
    (tmp_path / "test.tsv").write_text(text)
    return model.evaluate_file(EvaluationFile(str(tmp_path / "test.tsv"), **options))


def test_the_answers_for_paths_are_those_for_their_matrices(model, paths):
    answers = model.predict_records(paths, PredictionOptions(top=2))
    matrices = [read_matrix(path) for path in paths]
    for answer, ranked in zip(answers, model.rank(matrices, top=2), strict=True):
        assert answer["top"] == ranked
        assert (answer["output"], answer["log_probability"]) == ranked[0]
    assert len({answer["log_probability"] for answer in answers}) == 3
    options = PredictionOptions(sampling=SamplingOptions(temperature=1.5), seed=3)
    drawn = [(answer["output"], answer["log_probability"]) for answer in model.predict_records(paths, options)]
    assert drawn == model.draw(matrices, options.sampling, 3)


def test_the_log_probability_of_an_answer_is_its_score(model, paths):
    for path in paths:
        matrix = read_matrix(path)
        (((answer, log_p),),) = model.rank([matrix])
        if len(answer) < 2 * 3 + 10:  # otherwise the answer has no end
            assert model.score(matrix, answer) * (len(answer) + 1) == pytest.approx(-log_p)


@pytest.mark.parametrize("subsample", [1, 3])
def test_a_member_of_an_ensemble_reads_the_rows_of_the_first_model(subsample, source_model):
    symbols = Symbols(tuple(" abc"))
    scales = [
        Standardizer(np.array([1.0, -2.0]), np.array([2.0, 0.5])),
        Standardizer(np.zeros(2), np.array([1.0, 3.0])),
    ]
    first, second = (source_model(Transcriber, TranscriptCoding(scale, subsample, symbols, 3)) for scale in scales)
    matrix = Matrix("a", np.random.default_rng(1).standard_normal((6, 2)))
    unconverted = Transcriber(replace(first.checkpoint, parameters=second.parameters))
    converted = Transcriber(replace(first.checkpoint, parameters=second.parameters_for(first)))
    assert converted.score(matrix, "abc") == pytest.approx(second.score(matrix, "abc"), rel=1e-5)
    assert unconverted.score(matrix, "abc") != pytest.approx(second.score(matrix, "abc"), rel=1e-3)


def test_models_with_other_symbols_cannot_be_averaged(source_model):
    scale = Standardizer(np.zeros(2), np.ones(2))
    first, second = (source_model(Transcriber, TranscriptCoding(scale, 1, Symbols(tuple(s)), 3)) for s in ("ab", "ac"))
    assert second.parameters_for(first) is None


def test_a_matrix_that_the_model_cannot_read_is_refused(model, paths, tmp_path):
    with pytest.raises(CorpusError, match=r"missing\.npy: No such file"):
        model.predict_records([paths[0], str(tmp_path / "missing.npy")], PredictionOptions())
    np.save(tmp_path / "wide.npy", np.zeros((2, 5)))
    with pytest.raises(CorpusError, match=r"wide\.npy: 5 columns \(the model reads 2 columns\)"):
        model.predict_records([str(tmp_path / "wide.npy")], PredictionOptions())


def test_a_matrix_of_another_width_in_a_list_is_refused_with_its_line(model, paths, tmp_path):
    np.save(tmp_path / "wide.npy", np.zeros((2, 5)))
    with pytest.raises(CorpusError, match=r"test\.tsv, line 1: .*wide\.npy: 5 columns"):
        evaluate(model, tmp_path, "wide.npy\ta\n")


def test_a_file_is_evaluated_as_its_records_are(model, paths, tmp_path):
    text = "1.npy\ta b\n4.npy\tabc\n4.npy\tcab\n7.npy\tb\n"
    result = evaluate(model, tmp_path, text)
    assert result == model.evaluate_records(read_matrices([str(tmp_path / "test.tsv")], DataOptions(), []))
    assert result["records"] == 3  # two records of the same matrix are alternatives
    counts = {"records", "skipped", "unanswered", "chars", "unscored"}
    assert set(result) == counts | {"loss", "exact", "cer", "wer"}


def test_the_best_answers_are_exact(model, paths, tmp_path):
    answers = [answer["output"] for answer in model.predict_records(paths, PredictionOptions())]
    text = "".join(f"{path}\t{answer}\n" for path, answer in zip(paths, answers, strict=True) if answer)
    assert text
    result = evaluate(model, tmp_path, text)
    assert (result["exact"], result["cer"], result["wer"]) == (1, 0, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"test\.tsv: no records"),
        ("1.npy\ta\n2.npy\tb\n", r"test\.tsv, line 2: .*2\.npy: No such file"),
        ("1.npy\ta\n4.npy b\n", r"test\.tsv, line 2: no tab"),
    ],
)
@pytest.mark.usefixtures("paths")
def test_a_file_without_valid_records_is_refused(model, tmp_path, text, message):
    with pytest.raises(CorpusError, match=message):
        evaluate(model, tmp_path, text)


def test_unknown_symbols_of_a_reference_have_no_part_in_the_loss(model, paths, tmp_path):
    result = evaluate(model, tmp_path, "4.npy\tzz\n")
    assert result["loss"] == pytest.approx(model.score(read_matrix(paths[1]), ""))
    assert result["exact"] == 0


def test_an_input_that_cannot_be_read_is_refused_with_its_place(model, paths, tmp_path):
    assert str(model.read_input(paths[0], "list.txt, line 1")) == paths[0]
    np.save(tmp_path / "wide.npy", np.zeros((2, 5)))
    for name, problem in (("wide.npy", "5 columns"), ("missing.npy", "No such file")):
        with pytest.raises(CorpusError, match=rf"list\.txt, line 2: .*{name}: {problem}"):
            model.read_input(str(tmp_path / name), "list.txt, line 2")
