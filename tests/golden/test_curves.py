"""The first losses of every task and cell are those of the committed curves. See curves.py."""

import json

import numpy as np
import pytest

from charrnn.nn.stack import CELLS
from charrnn.options import TASKS

from .curves import FILES, losses, path_of

SLOW = pytest.mark.slow
REMEDY = "if the change is intended: python tests/golden/curves.py"


@pytest.mark.parametrize("cell", ["lstm", pytest.param("gru", marks=SLOW), pytest.param("rnn", marks=SLOW)])
@pytest.mark.parametrize("task", TASKS)
def test_the_first_losses_are_those_of_the_committed_curve(task, cell):
    expected = json.loads(path_of(task).read_text())[cell]
    assert expected[-1] < 0.95 * expected[0]
    np.testing.assert_allclose(losses(task, cell), expected, rtol=1e-9, err_msg=REMEDY)


def test_every_task_and_cell_has_a_curve():
    assert set(FILES) == set(TASKS)
    assert all(json.loads(path_of(task).read_text()).keys() == CELLS.keys() for task in TASKS)
