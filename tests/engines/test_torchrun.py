"""The processes of torchrun work as one engine: they compute the same as one process, and end together.

Skipped if PyTorch is not installed. Most tests are slow, because torchrun takes seconds to start.
"""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra `torch` is not installed")

TEXT = "the quick brown fox jumps over the lazy dog; " * 40
SMALL = ["--hidden-size=8", "--batch-size=5", "--seq-length=8", "--dropout=0.2", "--recurrent-dropout=0.2"]
STEPS = """
    import itertools
    import sys

    import numpy as np

    from charrnn.corpus.batch import Batch
    from charrnn.engines.processes import torchrun_variable
    from charrnn.engines.select import new_engine
    from charrnn.models.architecture import Architecture
    from charrnn.nn.optimizers import clip_factor
    from charrnn.nn.parameters import initialise
    from charrnn.options import ResolvedTraining
    from charrnn.seeding import Purpose, random_generator

    class Stream:
        steps = 3
        predictions = 90

        def batch(self, step):
            rng = np.random.default_rng(step)
            x, targets = rng.integers(0, 7, (2, 6, 5))
            return Batch(x, targets, (rng.random((6, 5)) < 0.7).astype(float), rng.random((6, 5, 1)) < 0.2)

    if torchrun_variable("RANK", 0):
        from charrnn.engines.torch.engine import follow
        follow()
        sys.exit()
    path = sys.argv[1]
    rate = float(sys.argv[2])
    architecture = Architecture("gru", 5, 2, input_size=7, output_size=7)
    train = ResolvedTraining(
        batch_size=5,
        seq_length=6,
        workers=1,
        learning_rate=0.01,
        dropout=rate,
        recurrent_dropout=rate,
        clip_value=0.1,
        device="torch",
    )
    parameters = np.empty(architecture.num_parameters)
    generators = (random_generator(3, Purpose.PARAMETERS, n) for n in itertools.count())
    initialise(architecture.specs(), parameters, generators)
    state = np.random.default_rng(1).random(architecture.state_shape(5))
    numbers = []
    with new_engine(architecture, train, "float64") as engine:
        engine.load(parameters=parameters, average=parameters, state=state)
        engine.stream = Stream()
        for step in range(50):
            loss, norm = engine.gradient(step)
            engine.update(0.01, clip_factor(norm, 0.3))
            numbers += [loss, norm]
        validation = Stream()
        total = sum(engine.score(step, validation.batch(step)) for step in range(validation.steps))
        scores = total / validation.predictions
        np.savez(path, average=engine.average, numbers=np.array(numbers), scores=scores, **engine.tensors())
"""


def torchrun(processes, *arguments):
    """Starts torchrun of this Python. The options of the program follow `--`."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), *map(str, arguments)]
    environment = {k: v for k, v in os.environ.items() if k != "CHARRNN_RUNS"} | {"MASTER_PORT": "0"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def train(processes, *arguments):
    return torchrun(processes, "-m", "--", "charrnn", "train", *arguments, "--device", "torch")


def finish(process, code=0):
    """Waits for a process and checks its exit code. Returns its output and error output."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    return out, err


def charrnn(*arguments):
    command = [sys.executable, "-m", "charrnn", *map(str, arguments)]
    subprocess.run(command, check=True, timeout=60, capture_output=True)


@pytest.mark.parametrize(("processes", "rate"), [(2, 0.3), pytest.param(3, 0.0, marks=pytest.mark.slow)])
def test_several_processes_compute_the_same_as_one(processes, rate, tmp_path):
    script = tmp_path / "steps.py"
    script.write_text(textwrap.dedent(STEPS))
    subprocess.run([sys.executable, script, tmp_path / "one.npz", str(rate)], check=True, timeout=60)
    finish(torchrun(processes, script, tmp_path / "several.npz", rate))
    one = np.load(tmp_path / "one.npz")
    several = np.load(tmp_path / "several.npz")
    assert set(one) == {"average", "numbers", "scores", "parameters", "moments", "state"}
    for name in one:
        np.testing.assert_allclose(several[name], one[name], rtol=0, atol=1e-10, err_msg=name)


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(TEXT)
    return path


def wait_for_evaluations(run, number, process):
    """Waits until a run has so many evaluations."""
    metrics = run / "metrics.jsonl"
    while not metrics.exists() or len(metrics.read_text().splitlines()) < number:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)


def process_id(rank, parent):
    """The id of the process of torchrun with this rank (Linux)."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            is_child = f"PPid:\t{parent}\n" in (path / "status").read_text()
            if is_child and f"RANK={rank}".encode() in (path / "environ").read_bytes().split(b"\0"):
                return int(path.name)
        except OSError:
            continue
    raise AssertionError("no such process")


def last_val_loss(run):
    return json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["val_loss"]


@pytest.mark.slow
def test_only_the_first_process_writes_and_prints(corpus, tmp_path):
    options = [corpus, *SMALL, "--max-steps", "30", "--eval-every", "10"]
    out, _ = finish(train(2, *options, "--run", tmp_path / "two", "--json", "--quiet"))
    result = json.loads(out)
    assert (result["status"], result["steps"]) == ("completed", 30)
    assert len((tmp_path / "two" / "metrics.jsonl").read_text().splitlines()) == 3
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "two"]
    charrnn("train", *options, "--run", tmp_path / "one")
    assert last_val_loss(tmp_path / "two") == pytest.approx(last_val_loss(tmp_path / "one"), abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_torchrun_saves_the_run_and_one_process_can_finish_it(number, corpus, tmp_path):
    options = [corpus, *SMALL, "--max-steps", "400", "--eval-every", "20"]
    run = tmp_path / "run"
    process = train(2, *options, "--run", run)
    wait_for_evaluations(run, 2, process)
    process.send_signal(number)
    _, err = finish(process, 1)
    assert f"charrnn train --resume {run}\n" in err
    assert json.loads((run / "result.json").read_text())["status"] == "interrupted"
    charrnn("train", "--resume", run)
    charrnn("train", *options, "--run", tmp_path / "whole")
    assert last_val_loss(run) == pytest.approx(last_val_loss(tmp_path / "whole"), abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_all_and_another_number_of_processes_can_finish_the_run(rank, corpus, tmp_path):
    options = [corpus, *SMALL, "--max-steps", "400", "--eval-every", "20", "--save-every", "10"]
    run = tmp_path / "run"
    process = train(2, *options, "--run", run, "--quiet")
    wait_for_evaluations(run, 2, process)
    process_ids = [process_id(r, process.pid) for r in (0, 1)]
    os.kill(process_ids[rank], signal.SIGKILL)
    _, err = finish(process, 1)
    error = "charrnn: error: another process of torchrun died (continue the run with --resume)\n"
    assert err.count(error) == 1
    assert not any(Path(f"/proc/{pid}").exists() for pid in process_ids)
    finish(train(3, "--resume", run, "--quiet"))
    charrnn("train", *options, "--run", tmp_path / "whole")
    assert last_val_loss(run) == pytest.approx(last_val_loss(tmp_path / "whole"), abs=1e-3)


@pytest.mark.slow
def test_a_batch_smaller_than_the_number_of_processes_is_refused_in_one_line(corpus, tmp_path):
    _, err = finish(train(2, corpus, "--batch-size", "1", "--max-steps", "1", "--run", tmp_path / "run"), 1)
    lines = [line for line in err.splitlines() if line.startswith("charrnn: ")]
    assert lines == ["charrnn: error: --batch-size 1: must be at least 2 (one per torchrun process)"]
    assert not (tmp_path / "run").exists()
