"""Several processes of torchrun are one engine: the numbers of one process, its files, its signals, its ends.

Skipped where PyTorch is not installed. Starting torchrun takes seconds, so that most of it is slow.
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
SMALL = [
    "--hidden-size",
    "8",
    "--batch-size",
    "5",
    "--seq-length",
    "8",
    "--dropout",
    "0.2",
    "--recurrent-dropout",
    "0.2",
]
STEPS = """
    import sys
    import numpy as np
    from charrnn.options import TrainingOptions
    from charrnn.corpus.batch import Batch
    from charrnn.models.architecture import Architecture
    from charrnn.nn.optimizers import clip_factor
    import itertools
    from charrnn.nn.parameters import initialise
    from charrnn.seeding import Purpose, random_generator
    from charrnn.engines.select import new_team
    from charrnn.engines.processes import of_torchrun

    class Reading:
        steps, predictions = 3, 90
        def batch(self, step):
            rng = np.random.default_rng(step)
            x, targets = rng.integers(0, 7, (2, 6, 5))
            return Batch(x, targets, (rng.random((6, 5)) < 0.7).astype(float), rng.random((6, 5, 1)) < 0.8)

    if of_torchrun("RANK", 0):
        from charrnn.engines.torch.team import follow
        follow()
        sys.exit()
    architecture = Architecture(cell="gru", hidden_size=5, num_layers=2, input_size=7, output_size=7)
    train = TrainingOptions(batch_size=5, seq_length=6, workers=1, device="torch", clip_value=0.1, **{dropped})
    flat, numbers = np.empty(architecture.parameters), []
    initialise(architecture.specs(), flat, (random_generator(3, Purpose.PARAMETERS, n) for n in itertools.count()))
    with new_team(architecture, train, "float64") as team:
        team.load(params=flat, average=flat, state=np.random.default_rng(1).random(architecture.state_shape(5)))
        team.stream = Reading()
        for step in range(50):
            loss, norm = team.gradient(step)
            team.update(0.01, clip_factor(norm, 0.3))
            numbers += [loss, norm]
        numbers = np.array(numbers)
        np.savez(sys.argv[1], average=team.average, numbers=numbers, val=team.validate(Reading()), **team.tensors())
"""


def torchrun(processes, *words, **options):
    """Of this Python; a program's own options stand behind --."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), *map(str, words)]
    environment = {k: v for k, v in os.environ.items() if k != "CHARRNN_RUNS"} | {"MASTER_PORT": "0"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options
    )


def train(processes, *words, **options):
    return torchrun(processes, "-m", "--", "charrnn", "train", *words, "--device", "torch", **options)


def finish(process, code=0):
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    return out, err


def charrnn(*words):
    subprocess.run([sys.executable, "-m", "charrnn", *map(str, words)], check=True, timeout=60, capture_output=True)


@pytest.mark.parametrize(
    ("processes", "dropped"),
    [
        (2, {"dropout": 0.3, "recurrent_dropout": 0.3}),
        pytest.param(3, {"dropout": 0.0, "recurrent_dropout": 0.0}, marks=pytest.mark.slow),
    ],
)
def test_the_numbers_are_those_of_one_process(processes, dropped, tmp_path):
    (tmp_path / "steps.py").write_text(textwrap.dedent(STEPS.replace("{dropped}", repr(dropped))))
    subprocess.run([sys.executable, tmp_path / "steps.py", tmp_path / "one.npz"], check=True, timeout=60)
    finish(torchrun(processes, tmp_path / "steps.py", tmp_path / "several.npz"))
    one, several = np.load(tmp_path / "one.npz"), np.load(tmp_path / "several.npz")
    assert set(one) == {"average", "numbers", "val", "params", "moments", "state"}
    for name in one:
        np.testing.assert_allclose(several[name], one[name], rtol=0, atol=1e-10, err_msg=name)


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(TEXT)
    return path


def wait_for(path, lines, process):
    """Until a run has that many evaluations."""
    while not path.exists() or len(path.read_text().splitlines()) < lines:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)


def process_of(rank, parent):
    """The process id of torchrun's process with that rank (Linux)."""
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
def test_the_first_process_alone_writes_and_prints(corpus, tmp_path):
    words = [corpus, *SMALL, "--max-steps", "30", "--eval-every", "10"]
    out, _ = finish(train(2, *words, "--run", tmp_path / "two", "--json", "--quiet"))
    result = json.loads(out)
    assert (result["status"], result["steps"]) == ("completed", 30)
    assert len((tmp_path / "two" / "metrics.jsonl").read_text().splitlines()) == 3
    assert os.listdir(tmp_path / "two") and sorted(os.listdir(tmp_path)) == ["corpus.txt", "two"]
    charrnn("train", *words, "--run", tmp_path / "one")
    assert last_val_loss(tmp_path / "two") == pytest.approx(last_val_loss(tmp_path / "one"), abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 1), (signal.SIGINT, 1)])
def test_a_signal_to_torchrun_saves_the_run_which_one_process_ends(number, code, corpus, tmp_path):
    words, run = [corpus, *SMALL, "--max-steps", "400", "--eval-every", "20"], tmp_path / "run"
    process = train(2, *words, "--run", run)
    wait_for(run / "metrics.jsonl", 2, process)
    process.send_signal(number)
    _, err = finish(process, code)
    assert f"interrupted and saved; go on with: charrnn train --resume {run}\n" in err
    assert json.loads((run / "result.json").read_text())["status"] == "interrupted"
    charrnn("train", "--resume", run)
    charrnn("train", *words, "--run", tmp_path / "whole")
    assert last_val_loss(run) == pytest.approx(last_val_loss(tmp_path / "whole"), abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_all_in_a_line_and_another_number_goes_on(rank, corpus, tmp_path):
    words, run = [corpus, *SMALL, "--max-steps", "400", "--eval-every", "20", "--save-every", "10"], tmp_path / "run"
    process = train(2, *words, "--run", run, "--quiet")
    wait_for(run / "metrics.jsonl", 2, process)
    ranks = [process_of(r, process.pid) for r in (0, 1)]
    os.kill(ranks[rank], signal.SIGKILL)
    _, err = finish(process, 1)
    told = "charrnn: error: another process of torchrun died (the run can go on with --resume)\n"
    assert err.count(told) == 1
    assert not any(Path(f"/proc/{pid}").exists() for pid in ranks)
    finish(train(3, "--resume", run, "--quiet"))
    charrnn("train", *words, "--run", tmp_path / "whole")
    assert last_val_loss(run) == pytest.approx(last_val_loss(tmp_path / "whole"), abs=1e-3)


@pytest.mark.slow
def test_fewer_streams_than_processes_are_refused_in_one_line(corpus, tmp_path):
    _, err = finish(train(2, corpus, "--batch-size", "1", "--max-steps", "1", "--run", tmp_path / "run"), 1)
    lines = [line for line in err.splitlines() if line.startswith("charrnn: ")]
    assert lines == ["charrnn: error: --batch-size 1: fewer streams than torchrun has processes (at least 2)"]
    assert not (tmp_path / "run").exists()
