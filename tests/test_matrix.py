"""Every command with a model of every task and with both engines: it works, or it is refused in one line.

EXPECTED lists the exit code of each combination, so that a combination that is not tested is visible.
"""

import functools
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from charrnn.cli.app import COMMANDS, main
from charrnn.options import TASKS
from charrnn.system import SAVE_SIGNALS, STOP_SIGNALS
from charrnn.training import bench

# 0: it works. 2: it is refused as a usage error.
EXPECTED = """
                  lm  lines  classify  tag  translate  series  labels  caption  transcribe
train              0      0         0    0          0       0       0        0           0
resume             0      0         0    0          0       0       0        0           0
init-from          0      0         0    0          0       0       0        0           0
sample             0      0         2    2          2       2       2        0           2
predict            2      2         0    0          0       0       0        2           0
eval               0      0         0    0          0       0       0        0           0
view               0      0         2    2          0       2       2        2           0
page               0      0         2    2          2       2       2        2           2
plot               0      0         0    0          0       0       0        0           0
report             0      0         0    0          0       0       0        0           0
plot --gradients   0      0         0    0          0       0       0        0           0
export             0      0         0    0          0       0       0        0           0
info               0      0         0    0          0       0       0        0           0
runs               0      0         0    0          0       0       0        0           0
sweep              0      0         0    0          0       0       0        0           0
bench              0      0         0    0          0       0       0        0           0
"""
ENGINES = {"numpy": "cpu", "torch": "torch"}  # values of --device
OUTPUT_FILES = {"page": "page.html", "report": "report.html", "export": "network.onnx"}
EXTRAS = {"plot": "plotext", "plot --gradients": "plotext", "export": "onnx", "sweep": "optuna"}
MODEL = ("--hidden-size", "4")
BATCH = ("--batch-size", "2", "--seq-length", "12", "--workers", "1")


@dataclass(frozen=True)
class Data:
    """The files and options of a task."""

    files: dict[str, str]  # names and contents; the first file is the corpus
    train: tuple[str, ...] = ()  # options of train, sweep and bench
    use: tuple[str, ...] = ()  # options of sample and eval

    @property
    def corpus(self):
        return next(iter(self.files))

    @property
    def inputs(self):
        """The file for predict: the corpus without the outputs, if it has any."""
        return "inputs.txt" if "inputs.txt" in self.files else self.corpus


def records(task, output_of):
    """24 records whose sources are aaaaa, aaaab, aaaba ..."""
    sources = [f"{n:05b}".replace("0", "a").replace("1", "b") for n in range(24)]
    lines = [f"{source}\t{output_of(n, source)}\n" for n, source in enumerate(sources)]
    return Data({"records.tsv": "".join(lines), "inputs.txt": "\n".join(sources[:3])}, ("--task", task))


TEXT = "the quick brown fox jumps over the lazy dog.\n" * 12
SERIES = "a,b\n" + "".join(f"{n % 7},{n % 5}\n" for n in range(60))
LABELS = "a,kind\n" + "".join(f"{n % 7},{'low' if n % 7 < 3 else 'high'}\n" for n in range(60))
FEATURES = "".join(f"{n % 3},{n % 4}\n" for n in range(24))
DATA = {
    "lm": Data({"text.txt": TEXT}),
    "lines": Data({"text.txt": TEXT}, ("--lines",)),
    "classify": records("classify", lambda n, source: "odd" if n % 2 else "even"),
    "tag": records("tag", lambda n, source: source.replace("b", "-")),
    "translate": records("translate", lambda n, source: str(n)),
    "series": Data({"series.csv": SERIES}, ("--task", "series")),
    "labels": Data({"labels.csv": LABELS}, ("--task", "series", "--target", "kind")),
    "caption": Data(
        {"captions.txt": "a star\nthe moon\n" * 12, "features.csv": FEATURES},
        train=("--features", "features.csv"),
        use=("--features", "features.csv"),
    ),
    "transcribe": Data(
        {
            "clips.tsv": "".join(f"{n}.csv\t{n % 3}\n" for n in range(24)),
            "inputs.txt": "0.csv\n1.csv\n",
            **{f"{n}.csv": f"1,{n}\n" * (1 + n % 4) for n in range(24)},
        },
        ("--task", "transcribe"),
    ),
}


def arguments(command, task, device, run):
    """The command line; `run` is a trained run."""
    data = DATA[task]
    train = (data.corpus, *data.train, *BATCH, "--device", device)
    return {
        "resume": ("train", "--resume", run, "--max-steps", "3", "--json"),
        "init-from": ("train", *train, "--init-from", f"{run}/best.safetensors", "--max-steps", "1", "--json"),
        "sample": ("sample", "--run", run, "--length", "5", *data.use),
        "predict": ("predict", data.inputs, "--run", run, "--device", device),
        "eval": ("eval", data.corpus, "--run", run, *data.use, "--device", device),
        "view": ("view", data.inputs, "--run", run),
        "page": ("page", "--run", run, "--output", "page.html"),
        "report": ("report", run, "--output", "report.html"),
        "plot": ("plot", run, "--terminal"),
        "plot --gradients": ("plot", "--gradients", run, "--terminal"),
        "export": ("export", "--run", run, "network.onnx"),
        "info": ("info", run),
        "runs": ("runs", "."),
        "sweep": ("sweep", *train, *MODEL, "--grid", "lr=0.01", "--max-steps", "1", "--json"),
        "bench": ("bench", *train, *MODEL, "--seconds", "0.1"),
    }[command]


def expected_codes():
    header, *rows = EXPECTED.strip("\n").splitlines()
    tasks = header.split()
    for row in rows:
        command, *codes = row.rsplit(maxsplit=len(tasks))
        for task, code in zip(tasks, codes, strict=True):
            yield command, task, int(code)


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def charrnn(capsys):
    """Runs a command in this process and returns its outcome."""

    def run(*words):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ending:
            main(list(map(str, words)))
        return Outcome(ending.value.code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory):
    """The folder of a task and an engine: its files, and its run when it has been trained."""

    @functools.cache
    def folder(task, engine):
        path = tmp_path_factory.mktemp(f"{task}-{engine}")
        for name, content in DATA[task].files.items():
            (path / name).write_text(content)
        return path

    return folder


@pytest.fixture
def train(charrnn):
    """Trains the run of the current folder, once in a session."""

    def run(task, device):
        outcome = Path("outcome.txt")
        if not outcome.exists():
            data = DATA[task]
            options = (*data.train, *BATCH, *MODEL, "--device", device, "--max-steps", "2", "--json", "--quiet")
            ended = charrnn("train", data.corpus, *options, "--run", "trained")
            assert (ended.code, ended.err) == (0, "")
            outcome.write_text(ended.out)
        return Outcome(0, outcome.read_text(), "")

    return run


@pytest.fixture(autouse=True)
def _isolated(monkeypatch):
    """Training sets signal handlers and an environment variable. Both are restored."""
    handlers = {number: signal.getsignal(number) for number in (*STOP_SIGNALS, *SAVE_SIGNALS)}
    monkeypatch.delenv("CHARRNN_RUNS", raising=False)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.setattr(bench, "SGEMM_SIZE", 64)
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def cases():
    """Each command, task and engine. Sweeps with PyTorch are slow, so that only one is among the quick tests."""
    for command, task, code in expected_codes():
        for engine in ENGINES:
            is_slow = command == "sweep" and engine == "torch" and task != "lm"
            yield pytest.param(command, task, code, engine, marks=pytest.mark.slow if is_slow else [])


@pytest.mark.parametrize(("command", "task", "code", "engine"), list(cases()))
def test_the_command_works_or_is_refused_in_one_line(
    command, task, code, engine, charrnn, train, folder_of, monkeypatch
):
    if engine == "torch":
        pytest.importorskip("torch", reason="the extra `torch` is not installed")
    if command in EXTRAS:
        pytest.importorskip(EXTRAS[command], reason=f"{EXTRAS[command]} is not installed")
    monkeypatch.chdir(folder_of(task, engine))
    outcome = train(task, ENGINES[engine])
    if command == "resume":
        shutil.copytree("trained", "resumed", dirs_exist_ok=True)
        outcome = charrnn(*arguments("resume", task, ENGINES[engine], "resumed"))
    elif command != "train":
        outcome = charrnn(*arguments(command, task, ENGINES[engine], "trained"))
    assert outcome.code == code, outcome.err
    if code == 0:
        assert "error" not in outcome.err
        assert outcome.out or Path(OUTPUT_FILES[command]).exists()
    else:
        assert outcome.out == ""
        assert outcome.err.startswith("charrnn: error: ")
        assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("task", DATA)
def test_fractions_that_leave_nothing_to_train_on_are_refused(task, charrnn, folder_of, monkeypatch):
    monkeypatch.chdir(folder_of(task, "numpy"))
    data = DATA[task]
    for fractions in (("0.5", "0.5"), ("0.999", "0.001"), ("0.6", "0.9")):
        options = ("--val-fraction", fractions[0], "--test-fraction", fractions[1], "--run", "none")
        outcome = charrnn("train", data.corpus, *data.train, *options)
        assert outcome.code == 2 and "nothing to train on" in outcome.err
    most = ("--val-fraction", "0.5", "--test-fraction", "0.4999", "--run", f"most-{task}")
    outcome = charrnn("train", data.corpus, *data.train, *MODEL, *most, "--workers", "1", "--max-steps", "1")
    assert outcome.code in (0, 2, 3) and "Traceback" not in outcome.err


def test_each_command_and_each_task_is_in_the_matrix():
    commands = {command.split()[0] for command, _, _ in expected_codes()}
    assert commands - {"resume", "init-from"} == set(COMMANDS)
    assert {task for _, task, _ in expected_codes()} - {"lines", "labels"} == set(TASKS)
