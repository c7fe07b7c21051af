"""The coding of pairs of texts."""

import json

import pytest

from charrnn.errors import CorpusError
from charrnn.options import ModelOptions
from charrnn.tasks.encoder_decoder.coding import SourceRecord
from charrnn.tasks.encoder_decoder.symbols import END, Symbols
from charrnn.tasks.translate.coding import TextPairCoding


def make_coding():
    return TextPairCoding(Symbols(("a", "b")), Symbols(("c", "dd"), " "), longest=2)


def test_a_source_and_a_target_have_their_own_symbols_and_an_end():
    records = make_coding().records([SourceRecord("ab", "c dd"), SourceRecord("", "c")])
    assert [source.tolist() for source in records.sources] == [[1, 2, END], [END]]
    assert [target.tolist() for target in records.targets] == [[1, 2], [1]]
    assert records.end == END


def test_the_architecture_has_an_encoder_of_the_source_symbols():
    architecture = make_coding().architecture(ModelOptions(hidden_size=6, embedding_size=4))
    shape = (architecture.source, architecture.source_size, architecture.input_size, architecture.output_size)
    assert shape == ("ids", 3, 3, 3)
    assert (architecture.hidden_size, architecture.embedding_size, architecture.attention) == (6, 4, True)


def test_metadata_survive_json():
    coding = make_coding()
    restored = TextPairCoding.from_dict(json.loads(json.dumps(coding.to_dict())))
    assert restored.to_dict() == coding.to_dict()
    assert (restored.longest, restored.target.separator) == (2, " ")


@pytest.mark.parametrize(
    "damage",
    [
        {"longest": 0},
        {"longest": 10**10},
        {"longest": 1.5},
        {"source": {"symbols": ["b", "a"], "separator": None, "normalize": "none"}},
        {"target": {"symbols": ["a", ""], "separator": " ", "normalize": "none"}},
    ],
)
def test_damaged_metadata_are_refused(damage):
    with pytest.raises(ValueError, match="checkpoint"):
        TextPairCoding.from_dict(make_coding().to_dict() | damage)


def test_unknown_symbols_are_refused_or_skipped():
    coding = make_coding()
    with pytest.raises(CorpusError, match=r"character 'z' at position 1"):
        coding.records([SourceRecord("azb", "c")])
    with pytest.raises(CorpusError, match=r"symbol 'z' at position 1"):
        coding.records([SourceRecord("ab", "c z")])
    records = coding.records([SourceRecord("azb", "z c")], skip_unknown=True)
    assert (records.sources[0].tolist(), records.targets[0].tolist()) == ([1, 2, END], [1])
