"""The first losses of small runs of every task and cell. `python tests/golden/curves.py` writes them to this folder.

The runs are computed in float64 by one worker, and all their options are given, so the losses depend on the equations,
the batches and the generator keys only. A change of them that is intended needs new curves.
"""

import json
import sys
from pathlib import Path

from charrnn.engines.numpy.engine import NumpyEngine
from charrnn.models.transfer import initial_parameters
from charrnn.nn.optimizers import clip_factor
from charrnn.nn.stack import CELLS
from charrnn.options import RunConfig
from charrnn.tasks.registry import read_task
from charrnn.training.defaults import resolve_options

FOLDER = Path(__file__).parent
DATA = Path(__file__).parents[2] / "data"
STEPS = 200
FILES = {
    "lm": "fables.txt",
    "classify": "kinds.tsv",
    "tag": "syllables.tsv",
    "translate": "dates.tsv",
    "transcribe": "tunes.tsv",
    "series": "season.csv",
    "caption": "shapes.txt",
}
OPTIONS = {
    "hidden_size": 8,
    "num_layers": 2,
    "embedding_size": 5,
    "batch_size": 4,
    "seq_length": 40,
    "learning_rate": 0.01,
    "weight_decay": 0.01,
    "dropout": 0.1,
    "recurrent_dropout": 0.1,
    "workers": 1,
    "max_steps": STEPS,
}


def losses(task_name, cell):
    """The losses of the first STEPS steps."""
    options = OPTIONS | {"task": task_name, "cell": cell}
    if task_name == "series":
        del options["embedding_size"]
    if task_name == "caption":
        options["features"] = str(DATA / "shapes.csv")
    if task_name == "transcribe":
        options |= {"target_separator": " ", "subsample": 1}
    config = RunConfig.from_options([str(DATA / FILES[task_name])], options)
    task = read_task(config)
    resolved = resolve_options(config.model, config.train, task)
    train = resolved.train
    architecture = task.architecture(resolved.model)
    parameters = initial_parameters(architecture, train.seed)
    found = []
    with NumpyEngine(architecture, train, "float64") as engine:
        engine.load(parameters=parameters, average=parameters)
        engine.stream = task.training_stream(train.batch_size, train.seq_length, train.seed)
        for step in range(STEPS):
            loss, norm = engine.gradient(step)
            engine.update(train.learning_rate, clip_factor(norm, train.clip_norm))
            found.append(loss)
    return found


def curves(task_name):
    """The curves of a task, by cell."""
    return {cell: losses(task_name, cell) for cell in CELLS}


def path_of(task_name):
    return FOLDER / f"{task_name}.json"


if __name__ == "__main__":
    for name in sys.argv[1:] or FILES:
        rounded = {cell: [float(f"{loss:.13g}") for loss in curve] for cell, curve in curves(name).items()}
        path_of(name).write_text(json.dumps(rounded) + "\n")
