"""The Python interface: charrnn.train, start, load and runs."""

import contextlib
import doctest
import os
import shutil
import signal
import threading
import types
from pathlib import Path

import numpy as np
import pytest

import charrnn
from charrnn.cli.app import main
from charrnn.runs.checkpoint import load_checkpoint
from charrnn.runs.directory import Run

ROOT = Path(__file__).parents[1]
SMALL = {"hidden_size": 4, "workers": 1}
TEXT = "The Fox said nothing. " * 40
PAIRS = [(f"{n:05b}".replace("0", "a").replace("1", "b"), "odd" if n % 2 else "even") for n in range(24)]
MATRICES = [(np.full((1 + n % 4, 2), n / 7), str(n % 3)) for n in range(24)]
TABLE = {"a": [float(n % 7) for n in range(60)], "b": [n % 5 for n in range(60)]}
DATA = {
    "lm": TEXT,
    "classify": PAIRS,
    "tag": [(text, text.replace("b", "-")) for text, _ in PAIRS],
    "translate": PAIRS,
    "transcribe": MATRICES,
    "caption": [(matrix[0], text) for matrix, text in MATRICES],
    "series": TABLE,
}
INPUTS = {"lm": None, "caption": None, "transcribe": [MATRICES[0][0]] * 2, "series": TABLE}


@pytest.fixture(autouse=True)
def _isolated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CHARRNN_RUNS", raising=False)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The folder with a run of each task, trained with data in memory and named after its task."""
    folder = tmp_path_factory.mktemp("api")
    with contextlib.chdir(folder):
        for task, data in DATA.items():
            charrnn.train(data=data, task=task, run=f"runs/{task}", max_steps=2, batch_size=2, **SMALL)
    return folder


def command_line(*words):
    """Runs a command in this process; it must succeed. Its signal handlers are removed."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = {number: signal.getsignal(number) for number in numbers}
    with pytest.raises(SystemExit) as ending:
        main([str(word) for word in words])
    for number, handler in handlers.items():
        signal.signal(number, handler)
    assert ending.value.code == 0


def parameters(run):
    return load_checkpoint(Run(Path(run)).last).parameters


def test_the_examples_of_the_docstrings_run_as_written(capsys):
    Path("fables.txt").write_text(TEXT)
    charrnn.train("fables.txt", max_steps=2, eval_every=2, run="runs/fables-001", **SMALL)
    finder = doctest.DocTestFinder(recurse=False)
    runner = doctest.DocTestRunner()
    tested = (type(charrnn.runs).__call__, charrnn.load, charrnn.train, charrnn.start)
    for function in tested:
        (examples,) = finder.find(function, globs={"charrnn": charrnn})
        runner.run(examples)
    assert (runner.tries > len(tested), runner.failures) == (True, 0), capsys.readouterr().out


@pytest.mark.parametrize("task", DATA)
def test_each_task_is_trained_and_used_with_data_in_memory(task, trained, monkeypatch, capfd):
    monkeypatch.chdir(trained)
    model = charrnn.load(f"runs/{task}")
    result = model.evaluate(data=DATA[task])
    assert result["loss"] > 0
    inputs = INPUTS.get(task, [text for text, _ in PAIRS[:2]])
    if task == "lm":
        assert len(model.sample(length=9, seed=1)) == 9
        assert model.sample(length=9, seed=1) == "".join(model.stream(length=9, seed=1))
    elif task == "caption":
        vectors = np.zeros((2, 2))
        assert model.sample(vectors, seed=1) == model.sample(vectors, seed=1) != []
        answers = model.predict(vectors, top=2)
        assert [len(answer["top"]) for answer in answers] == [2, 2]
        assert model.predict(vectors[0], top=2) == answers[0]
    elif task == "series":
        assert {name: len(values) for name, values in model.predict(inputs).items()} == {"a": 60, "b": 60}
        assert [len(values) for values in model.predict(inputs, steps=3).values()] == [3, 3]
    else:
        answers = model.predict(inputs)
        assert len(answers) == 2
        assert model.predict(inputs[0]) == answers[0]
    for method in ("predict", "sample"):
        if method == ("predict" if inputs is None else "sample"):
            with pytest.raises(charrnn.Error, match=f"--task {task}"):
                getattr(model, method)(["a"])
    assert repr(model).count("\n") == 0
    assert 20 < len(repr(model)) < 200
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("task", DATA)
def test_data_in_memory_and_the_file_that_is_stored_give_the_same_run(task, trained, monkeypatch):
    monkeypatch.chdir(trained)
    config = Run(Path("runs", task)).read_config()
    options = {"task": task, "features": config.data.features, "run": f"copies/{task}"}
    model = charrnn.train(list(config.corpus), max_steps=2, batch_size=2, **options, **SMALL)
    np.testing.assert_array_equal(parameters(f"copies/{task}"), parameters(f"runs/{task}"))
    features = config.data.features
    assert model.evaluate(config.corpus[0], features=features) == model.evaluate(data=DATA[task])


def test_an_evaluation_reads_the_columns_of_a_file_and_lists_errors(trained, monkeypatch, tmp_path):
    monkeypatch.chdir(trained)
    model = charrnn.load("runs/classify")
    file = tmp_path / "t.tsv"
    file.write_text("".join(f"{label}\t{number}\t{text}\n" for number, (text, label) in enumerate(PAIRS)))
    result = model.evaluate(file, columns="3,1", errors=100)
    assert result == model.evaluate(data=PAIRS, errors=100)
    assert len(result["errors"]) == round(len(PAIRS) * (1 - result["accuracy"])) > 0
    for options in ({"columns": "3,1"}, {"header": True}, {"features": "f.npy"}):
        with pytest.raises(charrnn.Error, match=next(iter(options))):
            model.evaluate(data=PAIRS, **options)
    for task, options in (("lm", {"columns": "1,2"}), ("caption", {"header": True}), ("series", {"errors": 1})):
        with pytest.raises(charrnn.Error, match=f"--{next(iter(options))}"):
            charrnn.load(f"runs/{task}").evaluate(file, **options)


def test_unknown_characters_are_refused_or_skipped_and_counted(trained, monkeypatch):
    monkeypatch.chdir(trained)
    for task in ("classify", "tag", "translate"):
        model = charrnn.load(f"runs/{task}")
        with pytest.raises(charrnn.Error, match="'z'"):
            model.predict(["ab", "abz"])
        answers = model.predict(["ab", "azbz", "z"], on_unknown="skip")
        assert [answer["skipped"] for answer in answers] == [0, 2, 1]
        assert answers[2][{"classify": "label", "tag": "tags", "translate": "output"}[task]] is None
        with pytest.raises(charrnn.Error, match="input 2: int 5 is not a text"):
            model.predict(["ab", 5])


def test_records_in_memory_are_not_mistaken_for_another_format():
    data = [(text, "label" if text else "x") for text in ("text", ";;; a", "__label__x a", '"a', "a  b", "")] * 4
    data = data[1:]  # the first record looks like a comment
    model = charrnn.train(data=data, task="classify", max_steps=2, batch_size=2, **SMALL)
    assert model.evaluate(data=data)["records"] == len(data)
    assert Run(model.checkpoint.path.parent).read_config().data.columns == "1,2"


def test_a_list_of_lines_trains_a_model_of_lines():
    model = charrnn.train(data=["one", "two", "three"] * 20, max_steps=2, **SMALL)
    assert model.lines
    assert "\n" not in model.sample(length=50, seed=1)


def test_bytes_train_a_model_of_bytes():
    model = charrnn.train(data=bytes(range(100)) * 5, max_steps=2, **SMALL)
    assert model.vocabulary.is_bytes


def test_validation_data_are_kept_apart():
    model = charrnn.train(data=PAIRS, val_data=[("bbbb", "odd")] * 3, task="classify", max_steps=2, **SMALL)
    config = Run(model.checkpoint.path.parent).read_config()
    assert Path(config.data.val_file).read_text() == "bbbb\todd\n" * 3


@pytest.mark.parametrize("kind", ["frame", "array", "column"])
def test_a_series_is_a_frame_an_array_or_one_column(kind):
    table = np.stack([TABLE["a"], TABLE["b"]], axis=1)
    if kind == "array":
        data, names = table, ["x0", "x1"]
    else:
        pandas = pytest.importorskip("pandas", reason="pandas is not installed: pip install '.[dev]'")
        frame = pandas.DataFrame(TABLE)
        data, names = (frame, ["a", "b"]) if kind == "frame" else (frame["a"], ["a"])
    model = charrnn.train(data=data, task="series", max_steps=2, **SMALL)
    assert list(model.predict(data, steps=2)) == names
    exact = Path(model.checkpoint.path.parent, "data", "table.csv").read_text().splitlines()
    assert exact[:2] == [",".join(names), "0.0,0" if kind == "frame" else ",".join(["0.0"] * len(names))]


def test_a_run_is_resumed_to_the_bit_by_the_command_line(capfd):
    charrnn.train(data=TEXT, run="whole", max_steps=8, **SMALL)
    training = charrnn.start(data=TEXT, run="run", max_steps=8, save_every=1, **SMALL)
    for event in training:
        if isinstance(event, charrnn.Saved) and event.step == 3:
            training.stop()
    command_line("train", "--resume", "run", "--quiet")
    np.testing.assert_array_equal(parameters("run"), parameters("whole"))
    assert capfd.readouterr().out == ""


def test_a_run_of_the_command_line_is_resumed_to_the_bit():
    Path("text.txt").write_text(TEXT)
    options = ("--hidden-size", 4, "--workers", 1, "--dropout", 0, "--recurrent-dropout", 0, "--quiet")
    command_line("train", "text.txt", "--run", "whole", "--max-steps", 8, *options)
    command_line("train", "text.txt", "--run", "run", "--max-steps", 3, *options)
    charrnn.train(resume="run", max_steps=8)
    np.testing.assert_array_equal(parameters("run"), parameters("whole"))


def test_a_run_with_data_in_memory_that_was_moved_says_what_to_pass():
    model = charrnn.train(data=TEXT, run="run", max_steps=2, **SMALL)
    assert model.evaluate(data=TEXT)["chars"] == len(TEXT)
    shutil.move("run", "moved")
    with pytest.raises(charrnn.Error, match=r"run/data/text.txt.*charrnn train --resume moved FILE") as caught:
        charrnn.train(resume="moved", max_steps=4)
    assert caught.value.exit_code == 3
    charrnn.train("moved/data/text.txt", resume="moved", max_steps=4)


def test_a_loop_that_is_left_saves_the_run_and_another_loop_continues_it():
    training = charrnn.start(data=TEXT, max_steps=8, **SMALL)
    assert repr(training).endswith(": training, step 0>")
    for event in training:
        if isinstance(event, charrnn.Step) and event.step == 3:
            break
    assert training.result["status"] == "interrupted"
    assert load_checkpoint(Run(training.run).last).training["state"]["step"] == 3
    steps = [event.step for event in training if isinstance(event, charrnn.Step)]
    assert (steps, training.result["status"]) == ([4, 5, 6, 7, 8], "completed")
    charrnn.train(data=TEXT, run="whole", max_steps=8, **SMALL)
    np.testing.assert_array_equal(parameters(training.run), parameters("whole"))


def test_an_exception_in_a_loop_keeps_the_run_usable():
    training = charrnn.start(data=TEXT, max_steps=4, **SMALL)

    def fail():
        for _ in training:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:  # `caught` keeps the frame of the loop
        fail()
    assert [event.step for event in training if isinstance(event, charrnn.Step)] == [2, 3, 4]
    assert caught.value


def test_ctrl_c_saves_the_run_and_raises_keyboard_interrupt():
    training = charrnn.start(data=TEXT, max_steps=50, **SMALL)
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def press_ctrl_c():
        for event in training:
            if isinstance(event, charrnn.Step) and event.step == 3:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        press_ctrl_c()
    assert (training.result["status"], training.result["steps"]) == ("interrupted", 3)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_training_in_another_thread_leaves_the_signals_alone():
    models = []
    thread = threading.Thread(target=lambda: models.append(charrnn.train(data=TEXT, max_steps=2, **SMALL)))
    thread.start()
    thread.join()
    assert len(models) == 1


def test_progress_is_shown_only_if_asked_for(capfd):
    charrnn.train(data=TEXT, max_steps=3, **SMALL)
    assert capfd.readouterr() == ("", "")
    charrnn.train(data=TEXT, max_steps=3, progress=True, **SMALL)
    out, err = capfd.readouterr()
    assert out == ""
    assert "100%" in err
    assert "step 3, loss" in err


def test_runs_are_the_records_of_the_command_line(capsys):
    import json

    for steps in (2, 3):
        charrnn.train(data=TEXT, max_steps=steps, **SMALL)
    command_line("runs", "--json")
    assert json.loads(capsys.readouterr().out)["runs"] == charrnn.runs()
    assert [run["steps"] for run in charrnn.runs(sort="-steps")] == [3, 2]
    assert isinstance(charrnn.runs, types.ModuleType)  # because of the package of this name
    with pytest.raises(charrnn.Error, match="nowhere"):
        charrnn.runs("nowhere")


def test_times_in_memory_are_not_numbers():
    days = np.arange("2026-11-01", "2026-12-01", dtype="datetime64[D]").astype("datetime64[ns]")
    days[3] = np.datetime64("NaT")
    data = {"day": days, "spent": np.diff(days, prepend=days[0]), "a": np.arange(30.0)}
    model = charrnn.train(data=data, task="series", max_steps=2, ignore="spent", **SMALL)
    assert list(model.predict(data)) == ["a"]
    rows = Path(model.checkpoint.path.parent, "data", "table.csv").read_text().splitlines()
    assert rows[2:5] == ["2026-11-02T00:00:00,86400.0,1.0", "2026-11-03T00:00:00,86400.0,2.0", ",,3.0"]


def test_several_texts_are_averaged_and_their_state_is_restored():
    paths = [charrnn.train(data="abc" * 50, seed=seed, max_steps=2, **SMALL).checkpoint.path for seed in (1, 2)]
    model = charrnn.load(paths)
    model.step("a", reset=True)
    state = model.state()
    expected = model.step("b")
    model.restore(state)
    assert model.step("b") == expected


def test_several_runs_are_averaged(trained, monkeypatch):
    monkeypatch.chdir(trained)
    paths = ["runs/classify", "copies2"]
    charrnn.train(data=PAIRS, task="classify", seed=2, batch_size=2, max_steps=2, run="copies2", **SMALL)
    single = [charrnn.load(path).predict("aabb", top=2)["top"] for path in paths]
    mean = dict(charrnn.load(paths).predict("aabb", top=2)["top"])
    for label in ("even", "odd"):
        assert mean[label] == pytest.approx(np.mean([dict(top)[label] for top in single]), abs=1e-6)


BAD_CALLS = {
    "no data": (2, "no corpus", lambda: charrnn.train()),
    "two sources": (2, "corpus", lambda: charrnn.train("a.txt", data="b")),
    "resume with data": (2, "resume", lambda: charrnn.train(resume="r", data="b")),
    "resume and run": (2, "--run", lambda: charrnn.train(resume="r", run="s")),
    "misspelled option": (2, "did you mean hidden_size", lambda: charrnn.train("a.txt", hidden_sise=3)),
    "unknown option": (2, "colour", lambda: charrnn.train("a.txt", colour="red")),
    "two names": (2, "twice", lambda: charrnn.train("a.txt", lr=1.0, learning_rate=1.0)),
    "out of range": (2, "at least 1", lambda: charrnn.train("a.txt", hidden_size=0)),
    "wrong type": (2, "must be of type int", lambda: charrnn.train("a.txt", hidden_size="big")),
    "not a path": (2, "int is not a path", lambda: charrnn.train(5)),
    "missing file": (3, "No such file", lambda: charrnn.train("missing.txt")),
    "missing run": (4, "no such run", lambda: charrnn.load("missing")),
    "missing resumed run": (4, "no such run", lambda: charrnn.train(resume="missing")),
    "checkpoint": (2, "best, last", lambda: charrnn.load("missing", checkpoint="first")),
    "encoding": (2, "--encoding", lambda: charrnn.train(data="ab", encoding="latin-1")),
    "header": (2, "--header", lambda: charrnn.train(data=PAIRS, task="classify", header=True)),
    "no text": (3, "int is not a list of lines", lambda: charrnn.train(data=5)),
    "line feed": (3, "line 2: contains a line feed", lambda: charrnn.train(data=["a", "b\n"])),
    "surrogate": (3, r"'\ud800'", lambda: charrnn.train(data="ab\ud800")),
    "short": (3, "data: the corpus has one character", lambda: charrnn.train(data="a")),
    "no pairs": (3, "not a pair", lambda: charrnn.train(data=["ab"], task="classify")),
    "tab": (3, "record 2, text: contains a tab", lambda: charrnn.train(data=[("a", "b"), ("\t", "b")], task="tag")),
    "label": (3, "int 1 is not a text", lambda: charrnn.train(data=[("a", 1)], task="classify")),
    "matrix": (3, "record 1: an array of shape (2,)", lambda: charrnn.train(data=[([1, 2], "a")], task="transcribe")),
    "vectors": (3, "record 2", lambda: charrnn.train(data=[([1], "a"), ([1, 2], "b")], task="caption")),
    "missing value": (3, "data, row 2, column a", lambda: charrnn.train(data={"a": [1, None, 2]}, task="series")),
    "columns": (3, "same length", lambda: charrnn.train(data={"a": [1], "b": []}, task="series")),
    "validation": (3, "val_data, record 1", lambda: charrnn.train(data=PAIRS, val_data=[("a", "")], task="classify")),
    "validation of a file": (2, "val_file", lambda: charrnn.train("a.txt", val_data=PAIRS)),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_an_error_is_one_line_with_an_exit_code_and_leaves_no_run(case):
    code, fact, call = BAD_CALLS[case]
    with pytest.raises(charrnn.Error) as caught:
        call()
    assert caught.value.exit_code == code
    assert fact in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(Path.cwd() / "runs") not in str(caught.value)
    assert not list(Path().glob("runs/*"))


def test_an_error_of_the_system_is_an_error_of_charrnn(monkeypatch, trained):
    monkeypatch.chdir(trained)
    model = charrnn.load("runs/classify")
    for error, code in ((MemoryError(), 6), (OSError(5, "Input/output error"), 6)):

        def fail(*_, error=error, **__):
            raise error

        monkeypatch.setattr(model, "predict_records", fail)
        with pytest.raises(charrnn.Error) as caught:
            model.predict("ab")
        assert caught.value.exit_code == code


def test_a_model_shows_itself_in_a_notebook():
    model = charrnn.train(data=TEXT, max_steps=4, eval_every=1, run="<b>", **SMALL)
    html = model._repr_html_()
    assert "&lt;b&gt;/best.safetensors" in html
    assert "<b>" not in html
    assert "best validation loss" in html
    assert html.count("<polyline") == 2
    shutil.copy(model.checkpoint.path, "alone.safetensors")
    assert "<svg" not in charrnn.load("alone.safetensors")._repr_html_()
    Path("<b>", "metrics.jsonl").write_text("damaged\n")
    assert "damaged" in model._repr_html_()


def test_the_names_of_the_interface_are_listed_and_exist():
    for name in charrnn.__all__:
        assert name in dir(charrnn)
        assert getattr(charrnn, name) is not None
    with pytest.raises(AttributeError, match="colour"):
        charrnn.colour  # noqa: B018
    assert (ROOT / "charrnn" / "py.typed").exists()
