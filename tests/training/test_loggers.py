"""Loggers: what each tracker has stored after a run and its resume, and failures, which never end a run.

The tests of a tracker are skipped if its library is not installed: pip install '.[loggers]'.
"""

import json
import re
import struct
import sys
import warnings
from pathlib import Path

import pytest

import charrnn
from charrnn.runs.directory import Run
from charrnn.runs.reports import read_metrics, read_samples
from charrnn.training import loggers

TEXT = "The Fox said nothing. " * 40
OPTIONS = {"hidden_size": 4, "workers": 1, "eval_every": 2}
BLOCK = 1 << 15
WANDB_HEADER = 7  # bytes
LIBRARIES = {"tensorboard": "tensorboardX", "wandb": "wandb", "mlflow": "mlflow"}


@pytest.fixture(autouse=True)
def _isolated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("CHARRNN_RUNS", raising=False)


@pytest.fixture
def resumed(request):
    """A run with a tracker that was trained for four steps and then resumed for four more -> the run."""

    def train(tracker):
        pytest.importorskip(
            LIBRARIES[tracker], reason=f"{LIBRARIES[tracker]} is not installed: pip install '.[loggers]'"
        )
        charrnn.train(data=TEXT, run="run", max_steps=4, log=tracker, **OPTIONS)
        charrnn.train(resume="run", max_steps=8, log=[tracker])
        run = Run(Path("run"))
        assert [row["step"] for row in read_metrics(run.metrics)] == [2, 4, 6, 8]
        return run

    return train


def leveldb_records(data, position):
    """The records of a log in the format of LevelDB: blocks of 32 kB with parts of records. position: of the data in
    the file."""
    record = b""
    while len(data) >= 7:
        _, length, part = struct.unpack("<IHB", data[:7])  # the part is 1: whole, 2: first, 3: middle or 4: last
        record += data[7 : 7 + length]
        if part in (1, 4):
            yield record
            record = b""
        used = 7 + length
        rest_of_block = BLOCK - (position + used) % BLOCK
        used += rest_of_block if rest_of_block < 7 else 0
        data = data[used:]
        position += used


def expected_metrics(run):
    """(step, value) of some metrics, by name."""
    names = ("train_loss", "val_loss", "val_bpc", "learning_rate", "grad_norm")
    return {name: [(row["step"], row[name]) for row in read_metrics(run.metrics)] for name in names}


def expected_samples(run):
    return {row["step"]: row["text"] for row in read_samples(run.samples)}


def check_metrics(stored, run):
    for name, points in expected_metrics(run).items():
        assert [step for step, _ in stored[name]] == [step for step, _ in points]
        assert [value for _, value in stored[name]] == pytest.approx([value for _, value in points], rel=1e-6)


def test_tensorboard_stores_metrics_samples_and_options_in_one_log(resumed):
    run = resumed("tensorboard")
    from tensorboardX.proto import event_pb2

    scalars = {}
    texts = {}
    for path in sorted(Path("run/tensorboard").iterdir()):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])  # then a checksum of the length, the event and its checksum
            event = event_pb2.Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    scalars.setdefault(value.tag, []).append((event.step, value.simple_value))
                else:
                    texts[value.tag.split("/")[0], event.step] = value.tensor.string_val[0].decode()
    check_metrics(scalars, run)
    for step, text in expected_samples(run).items():
        assert "\n".join(line[4:] for line in texts["sample", step].split("\n")) == text
    options = [text for (tag, _), text in texts.items() if tag == "options"]
    assert len(options) == 2  # of the start and of the resume
    assert all("| hidden_size | 4 |" in text for text in options)


def test_mlflow_stores_metrics_samples_and_options_in_one_run(resumed):
    run = resumed("mlflow")
    import mlflow

    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("charrnn")
    (stored,) = client.search_runs([experiment.experiment_id])
    history = {
        name: [(metric.step, metric.value) for metric in client.get_metric_history(stored.info.run_id, name)]
        for name in expected_metrics(run)
    }
    check_metrics(history, run)
    assert stored.data.params["hidden_size"] == "4"
    assert (stored.info.run_name, stored.info.status, stored.data.tags["status"]) == ("run", "FINISHED", "completed")
    paths = [item.path for item in client.list_artifacts(stored.info.run_id, "samples")]
    texts = {
        int(re.findall(r"\d+", path)[-1]): mlflow.artifacts.load_text(f"{stored.info.artifact_uri}/{path}")
        for path in paths
    }
    assert texts == expected_samples(run)


def test_wandb_stores_metrics_samples_and_options_of_one_run_offline(resumed):
    run = resumed("wandb")
    from wandb.proto import wandb_internal_pb2

    rows = []
    config = {}
    ids = set()
    for path in sorted(Path("run/wandb").glob("offline-run-*/*.wandb")):
        for data in leveldb_records(path.read_bytes()[WANDB_HEADER:], WANDB_HEADER):
            record = wandb_internal_pb2.Record.FromString(data)
            if record.HasField("run"):
                ids.add(record.run.run_id)
                config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            if record.HasField("history"):
                items = record.history.item
                rows.append({item.key or item.nested_key[0]: json.loads(item.value_json) for item in items})
    stored = {name: [(row["step"], row[name]) for row in rows if name in row] for name in expected_metrics(run)}
    check_metrics(stored, run)
    assert {row["step"]: row["sample"] for row in rows if "sample" in row} == expected_samples(run)
    assert config["hidden_size"] == "4"
    assert ids == {json.loads(run.logs.read_text())["wandb"]}


class Recorder(loggers.Logger):
    """A logger that keeps everything, or fails."""

    library = "json"
    fails = False
    calls: list = []  # noqa: RUF012

    @staticmethod
    def load_library():
        return json

    def begin(self):
        if self.fails:
            raise ConnectionError("no route to host\nsecond line")
        self.calls.append(("begin", self.known_id(), self.options()["cell"]))
        self.keep_id("id-1")

    def log_metrics(self, values, step):
        self.calls.append(("metrics", step, sorted(values)))

    def log_text(self, text, step):
        self.calls.append(("text", step))

    def end(self, status, values):
        self.calls.append(("end", status))


@pytest.fixture
def recorder(monkeypatch):
    monkeypatch.setitem(loggers.LOGGERS, "recorder", Recorder)
    monkeypatch.setattr(Recorder, "calls", [])
    return Recorder


def test_a_logger_gets_the_events_in_order_and_its_identifier_after_a_resume(recorder):
    data = {"a b!": [float(n % 7) for n in range(60)]}
    charrnn.train(data=data, task="series", run="run", max_steps=2, log="recorder", **OPTIONS)
    charrnn.train(resume="run", max_steps=4, log="recorder")
    numbers = ["chars", "chars_per_second", "epoch", "grad_norm", "learning_rate", "seconds", "train_loss", "val_loss"]
    assert recorder.calls == [
        ("begin", None, "gru"),
        ("metrics", 2, [*numbers, "val_rmse/a b_"]),
        ("text", 2),
        ("end", "completed"),
        ("begin", "id-1", "gru"),
        ("metrics", 4, [*numbers, "val_rmse/a b_"]),
        ("text", 4),
        ("end", "completed"),
    ]


def test_a_logger_that_fails_does_not_end_the_run_and_says_so_once(recorder, monkeypatch):
    monkeypatch.setattr(Recorder, "fails", True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = charrnn.train(data=TEXT, max_steps=4, log="recorder", **OPTIONS)
    assert model.checkpoint.training["step"] == 4
    assert [str(warning.message) for warning in caught] == [
        "--log recorder: no route to host second line; the run continues without it"
    ]


def test_without_its_library_a_tracker_is_refused_before_a_run_is_created(monkeypatch):
    for name, library in LIBRARIES.items():
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(charrnn.Error, match=rf"{library} \(extra loggers\) is not installed") as caught:
            charrnn.train(data=TEXT, log=name)
        assert caught.value.exit_code == 2
    with pytest.raises(charrnn.Error, match="--log paper: not one of tensorboard, wandb, mlflow"):
        charrnn.train(data=TEXT, log="paper")
    assert not Path("runs").exists()
