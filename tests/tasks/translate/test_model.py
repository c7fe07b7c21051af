"""A trained translator: the evaluation of a file. tests/tasks/encoder_decoder covers its answers."""

import pytest

from charrnn.errors import CorpusError
from charrnn.tasks.base import EvaluationFile
from charrnn.tasks.encoder_decoder.coding import SourceRecord
from charrnn.tasks.encoder_decoder.symbols import Symbols
from charrnn.tasks.translate.coding import TextPairCoding
from charrnn.tasks.translate.model import Translator


@pytest.fixture
def model(source_model):
    coding = TextPairCoding(Symbols(("a", "b")), Symbols(("c", "dd"), " "), longest=2)
    return source_model(Translator, coding)


def evaluate(model, tmp_path, text, **options):
    (tmp_path / "test.tsv").write_text(text)
    return model.evaluate_file(EvaluationFile(str(tmp_path / "test.tsv"), **options))


def test_a_file_is_evaluated_as_its_records_are(model, tmp_path):
    records = [SourceRecord("ab", "c dd"), SourceRecord("ab", "dd"), SourceRecord("", "c")]
    result = evaluate(model, tmp_path, "ab\tc dd\nab\tdd\n\tc\n")
    assert result == model.evaluate_records(records)
    assert result["records"] == 2


def test_unknown_symbols_of_a_file_are_refused_or_skipped(model, tmp_path):
    with pytest.raises(CorpusError, match=r"test\.tsv, line 2, column 3: character 'z'"):
        evaluate(model, tmp_path, "ab\tc dd\nabz\tc dd\n")
    expected = evaluate(model, tmp_path, "ab\tc dd\n")
    assert evaluate(model, tmp_path, "zab\tc dd\n", skip_unknown=True) == expected | {"skipped": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ab\tc\nab c\n", r"test\.tsv, line 2: no tab"),
        ("ab\tc\nab\t\n", r"test\.tsv, line 2: no output"),
        ("", r"test\.tsv: no records"),
    ],
)
def test_a_file_without_valid_records_is_refused(model, tmp_path, text, message):
    with pytest.raises(CorpusError, match=message):
        evaluate(model, tmp_path, text)
