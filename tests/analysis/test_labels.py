"""Labels of runs."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from charrnn.analysis.labels import run_labels
from charrnn.options import RunConfig


def labels(*options):
    """The labels of runs 0, 1, ... with these options."""
    runs = [SimpleNamespace(path=Path(f"runs/{n}")) for n in range(len(options))]
    return run_labels(runs, [RunConfig.from_options(["corpus.txt"], values) for values in options])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([{"cell": "gru"}], ["0"]),
        ([{"cell": "gru"}, {"cell": "rnn"}], ["0: gru", "1: rnn"]),
        ([{"num_layers": 1}, {"num_layers": 2}], ["0: layers 1", "1: layers 2"]),
        ([{"hidden_size": 64}, {"hidden_size": 128}], ["0: 64 units", "1: 128 units"]),
        ([{"learning_rate": 0.01}, {"learning_rate": 0.02}], ["0: lr 0.01", "1: lr 0.02"]),
        ([{"max_steps": 5, "seed": 2}, {"max_steps": 9, "seed": 3}], ["0: seed 2", "1: seed 3"]),
        ([{"max_steps": 5}, {"max_steps": 9}], ["0: max steps 5", "1: max steps 9"]),
        ([{"save_every": 5}, {"save_every": 9}], ["0", "1"]),
        ([{"task": "lm"}, {"task": "classify"}], ["0: lm", "1: classify"]),
        (
            [{"hidden_size": 64, "learning_rate": 0.02}, {"hidden_size": 128, "learning_rate": 0.01}],
            ["0: 64 units", "1: 128 units"],
        ),
        (
            [{"cell": "gru", "learning_rate": rate} for rate in (0.01, 0.02)] + [{"cell": "rnn"}],
            ["0: gru, lr 0.01", "1: gru, lr 0.02", "2: rnn"],
        ),
    ],
)
def test_a_label_names_the_run_and_the_options_in_which_the_runs_differ(options, expected):
    assert labels(*options) == expected
