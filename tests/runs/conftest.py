"""The files of a small run."""

import os

from charrnn.options import RunConfig
from charrnn.runs.directory import Run
from charrnn.runs.reports import Metrics, Result, Scores

SCORES = Scores(loss=1.5, bpc=2.2, accuracy=0.5)
METRICS = Metrics(
    step=7,
    epoch=0.5,
    chars=700,
    seconds=3.25,
    train_loss=1.25,
    val=SCORES,
    learning_rate=0.008,
    grad_norm=None,
    chars_per_second=215.4,
)
RESULT = Result(
    run="runs/a",
    status="completed",
    steps=7,
    epochs=0.5,
    chars=700,
    seconds=3.25,
    chars_per_second=215.4,
    train_loss=1.25,
    val=SCORES,
    best_val_loss=1.5,
    best_val_bpc=2.2,
    best_step=7,
    test_loss=None,
    test_metrics=None,
    parameters=10,
    vocabulary_size=4,
    workers=1,
    config={},
)
OPTIONS = {
    "batch_size": 4,
    "seq_length": 8,
    "learning_rate": 0.01,
    "dropout": 0.0,
    "recurrent_dropout": 0.0,
    "workers": 1,
    "val_limit": 0,
    "max_steps": 10,
}


def write_run(path, time=0, **options):
    """A run with a configuration that was written at some time."""
    path.mkdir(parents=True)
    run = Run(path)
    run.write_json(run.config, RunConfig.from_options(["corpus.txt"], OPTIONS | options).to_dict())
    os.utime(run.config, (time, time))
    return run
