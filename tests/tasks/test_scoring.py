"""Scoring of records in batches: outputs and losses do not depend on how records are batched."""

import numpy as np
import pytest

from charrnn.nn.stack import CELLS
from charrnn.options import DataOptions
from charrnn.tasks import scoring
from charrnn.tasks.records import Pair
from charrnn.tasks.scoring import mean_loss, scored_outputs
from charrnn.tasks.tag.coding import TagCoding
from charrnn.tasks.tag.model import Tagger

PAIRS = [Pair("abc" * n, "xyy" * n) for n in (1, 3, 4, 2, 7, 1)]


@pytest.fixture(params=CELLS)
def model(request, record_model):
    return record_model(Tagger, TagCoding.from_records(PAIRS, DataOptions()), cell=request.param, num_layers=2)


def test_outputs_are_in_the_order_of_the_records(model, monkeypatch):
    together = scored_outputs(model, model.coding.records(PAIRS))
    alone = [scored_outputs(model, model.coding.records([pair])) for pair in PAIRS]
    assert [len(outputs) for outputs in alone] == [len(pair.output) for pair in PAIRS]
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-12, atol=1e-14)
    monkeypatch.setattr(scoring, "MAX_STREAMS", 2)
    np.testing.assert_allclose(scored_outputs(model, model.coding.records(PAIRS)), together, rtol=1e-12, atol=1e-14)


def test_the_mean_loss_is_that_of_the_outputs(model, monkeypatch):
    records = model.coding.records(PAIRS)
    outputs = scored_outputs(model, records)
    targets = records.targets[records.loss_mask]
    expected = np.logaddexp.reduce(outputs, axis=1) - outputs[np.arange(len(outputs)), targets]
    assert mean_loss(model, records) == pytest.approx(expected.mean())
    monkeypatch.setattr(scoring, "MAX_STREAMS", 1)
    assert mean_loss(model, records) == pytest.approx(expected.mean())


def test_no_records_have_no_outputs(model):
    assert scored_outputs(model, model.coding.records([])).shape == (0, len(model.coding.tags))
