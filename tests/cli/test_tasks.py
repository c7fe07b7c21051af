"""The tasks beyond the language model at the command line: train, predict, eval, and the mistakes that people make."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import charrnn as package

DATA = Path(__file__).parents[2] / "data"
SMALL = ("--hidden-size", "12", "--batch-size", "4", "--workers", "1", "--max-steps", "30", "--lr", "0.02", "--quiet")
FILES = {
    "classify": ("kinds.tsv", 120),
    "tag": ("syllables.tsv", 120),
    "translate": ("dates.tsv", 60),
    "series": ("season.csv", 120),
    "captions": ("shapes.txt", 80),
}


def arguments(task, name):
    if task == "captions":
        return [name, "--features", "shapes.csv"]
    return [name, "--task", task]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a head of each data set, and a run trained a little on each, named after its task."""
    folder = tmp_path_factory.mktemp("tasks")
    for name, lines in (*FILES.values(), ("shapes.csv", 80)):
        text = "".join((DATA / name).read_text().splitlines(keepends=True)[:lines])
        (folder / name).write_text(text)
    for task, (name, _) in FILES.items():
        words = [*arguments(task, name), *SMALL, "--run", f"runs/{task}", "--test-fraction", "0.2"]
        subprocess.run([sys.executable, "-m", "charrnn", "train", *words], cwd=folder, check=True, timeout=120)
    return folder


@pytest.fixture
def at(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


def inputs(task):
    return "".join(line.split("\t")[0] + "\n" for line in Path(FILES[task][0]).read_text().splitlines()[:7])


@pytest.mark.parametrize("task", FILES)
def test_a_result_has_the_metrics_of_its_task_and_what_eval_says_of_the_test_part(task, at):
    result = json.loads(Path(f"runs/{task}/result.json").read_text())
    last = json.loads(Path(f"runs/{task}/metrics.jsonl").read_text().splitlines()[-1])
    assert result["config"]["text"]["task"] == ("lm" if task == "captions" else task)
    has_accuracy, has_rmse = task in ("classify", "tag", "translate"), task == "series"
    for row in (result, last):
        assert (row["val_accuracy"] is not None) == has_accuracy
        assert (row["val_rmse"] is not None) == has_rmse
    if has_rmse:
        assert set(result["val_rmse"]) == {"temperature", "rain", "visitors"}
    assert result["test_metrics"]["loss"] == result["test_loss"]


FIELDS = {
    "classify": {"records", "loss", "accuracy", "macro_f1", "labels", "confusion"},
    "tag": {"records", "chars", "loss", "accuracy", "record_accuracy"},
    "translate": {"records", "chars", "loss", "exact", "cer"},
    "series": {"rows", "loss", "rmse", "mae", "rmse_of_last"},
    "captions": {"records", "chars", "loss", "bpc", "perplexity"},
}


@pytest.mark.parametrize("task", FILES)
def test_eval_json_has_the_fields_of_the_contract(task, at, charrnn):
    words = ["--features", "shapes.csv"] if task == "captions" else []
    result = charrnn("eval", FILES[task][0], "--run", f"runs/{task}", *words, "--json").json
    assert set(result) == FIELDS[task]
    assert result["loss"] > 0
    assert charrnn("eval", FILES[task][0], "--run", f"runs/{task}", *words).out.count("\n") >= 4


@pytest.mark.parametrize("task", ["classify", "tag", "translate"])
def test_predict_answers_each_line_with_a_line_whatever_stands_beside_it(task, at, charrnn):
    lines = inputs(task)
    together = charrnn("predict", "-", "--run", f"runs/{task}", stdin=lines)
    assert together.code == 0 and together.out.count("\n") == 7
    rows = charrnn("predict", "--run", f"runs/{task}", "--json", stdin=lines).rows
    assert [row["input"] for row in rows] == lines.splitlines()
    for line, answer in zip(lines.splitlines(), together.out.splitlines(), strict=True):
        assert charrnn("predict", "--run", f"runs/{task}", stdin=line + "\n").out == answer + "\n"
    model = package.load(f"runs/{task}")
    assert model.answers(lines.splitlines()) == [
        line.split("\t")[0]
        for line in charrnn(
            "predict", "--run", f"runs/{task}", *(["--beam", "1"] if task == "translate" else []), stdin=lines
        ).out.splitlines()
    ]


def test_top_gives_several_classes_with_probabilities_that_add_up(at, charrnn):
    (line,) = charrnn("predict", "--run", "runs/classify", "--top", "4", stdin="is the clock here\n").out.splitlines()
    cells = line.split("\t")
    assert sorted(cells[::2]) == ["command", "exclamation", "question", "statement"]
    assert sum(map(float, cells[1::2])) == pytest.approx(1, abs=1e-3)
    assert sorted(cells[1::2], reverse=True) == cells[1::2]


def test_translations_come_with_log_probabilities_or_are_drawn(at, charrnn):
    (row,) = charrnn("predict", "--run", "runs/translate", "--top", "3", "--json", stdin="May 3, 1921\n").rows
    values = [value for _, value in row["top"]]
    assert len(values) == 3 and values == sorted(values, reverse=True) and values[0] < 0
    drawn = [
        charrnn("predict", "--run", "runs/translate", "--temperature", "1.5", "--seed", seed, stdin="May 3, 1921\n").out
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_series_is_predicted_row_by_row_and_goes_on_for_as_many_steps_as_asked(at, charrnn):
    header, *rows = charrnn("predict", "season.csv", "--run", "runs/series").out.splitlines()
    assert header == "temperature,rain,visitors" and len(rows) == 119
    following = charrnn("predict", "season.csv", "--run", "runs/series", "--steps", "5").out.splitlines()
    assert len(following) == 6 and following[1] == rows[-1]
    model = package.load("runs/series")
    values = model.rows(model.read("season.csv"))
    step_by_step = values.copy()
    for _ in range(3):
        step_by_step = np.concatenate([step_by_step, model.predict(step_by_step)[-1:]])
    np.testing.assert_allclose(model.forecast(values, 3), step_by_step[-3:], rtol=1e-4)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_a_series_with_a_trend_never_falls_behind_repeating_the_last_value(cell, charrnn, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    n, rng = np.arange(400), np.random.default_rng(3)
    table = np.stack([0.3 * n + rng.normal(0, 0.4, 400), 1e6 - 2 * n + rng.normal(0, 1, 400)], axis=1)
    np.savetxt("trend.csv", table, fmt="%.4f", delimiter=",", header="up,down", comments="")
    words = ["--task", "series", "--cell", cell, "--test-fraction", "0.1", "--max-steps", "300", "--hidden-size", "8"]
    tested = charrnn("train", "trend.csv", *words, "--workers", "1", "--quiet", "--json").json["test_metrics"]
    for column in ("up", "down"):  # the last tenth lies beyond all that training has seen
        assert tested["rmse"][column] <= 1.02 * tested["rmse_of_last"][column]


@pytest.mark.parametrize("task", ["classify", "translate", "series"])
def test_bench_times_a_task_on_its_data(task, at, charrnn):
    words = [*arguments(task, FILES[task][0]), "--hidden-size", "8", "--workers", "1", "--seconds", "0.3", "--json"]
    result = charrnn("bench", *words).json
    assert result["chars_per_second"] > 0 and result["sample_chars_per_second"] is None
    charrnn("bench", "--task", task).fails(2, "--task goes with a corpus")


def test_captions_are_written_a_line_for_each_row_of_the_features(at, charrnn):
    outcome = charrnn("sample", "--run", "runs/captions", "--features", "shapes.csv", "--seed", "1")
    assert outcome.out.count("\n") == 80
    assert charrnn("sample", "--run", "runs/captions", "--features", "shapes.csv", "--seed", "1").out == outcome.out
    rows = charrnn("sample", "--run", "runs/captions", "--features", "shapes.csv", "--seed", "1", "--json").rows
    assert set(rows[0]) == {"prime", "text", "seed", "nats"}
    assert "".join(row["text"] + "\n" for row in rows) == outcome.out
    model = package.load("runs/captions")
    vectors = np.loadtxt("shapes.csv", delimiter=",")
    ended = [n for n, row in enumerate(rows) if len(row["text"]) < 80]
    for n in ended[:5]:
        assert model.score(rows[n]["text"], vectors[n]) == pytest.approx(rows[n]["nats"], abs=1e-4)
    assert ended


@pytest.mark.parametrize("task", FILES)
def test_info_runs_resume_and_init_from_serve_all_tasks(task, at, charrnn, tmp_path):
    info = charrnn("info", f"runs/{task}", "--json").json
    assert info["task"] == ("lm" if task == "captions" else task)
    assert ("columns" in info) == (task == "series") and ("labels" in info) == (task in ("classify", "tag", "series"))
    assert charrnn("info", f"runs/{task}").code == 0
    again = tmp_path / "again"
    words = [*arguments(task, FILES[task][0]), "--init-from", f"runs/{task}", "--run", again, "--max-steps", "2"]
    assert charrnn("train", *words, "--quiet", "--workers", "1", "--batch-size", "4").code == 0
    result = charrnn("train", "--resume", again, "--max-steps", "4", "--json", "--quiet").json
    assert result["steps"] == 4
    assert f"{task}" in charrnn("runs", "--csv").out


def test_captions_train_in_windows_of_one_step(at, charrnn, tmp_path):
    words = ["--features", "shapes.csv", "--hidden-size", "8", "--embedding-size", "3", "--seq-length", "1"]
    assert charrnn("train", "shapes.txt", *words, "--max-steps", "2", "--quiet", "--run", tmp_path / "x").code == 0


def test_a_sweep_searches_over_any_task_and_its_winner_s_command_gives_it_again(at, charrnn, monkeypatch, tmp_path):
    monkeypatch.setenv("CHARRNN_RUNS", str(tmp_path))
    small = ["--max-steps", "4", "--workers", "1", "--eval-every", "2", "--quiet"]
    result = charrnn("sweep", "kinds.tsv", "--task", "classify", "--grid", "hidden-size=6,8", *small, "--json").json
    assert [row["state"] for row in result["trials"]] == ["completed"] * 2
    again = charrnn(*result["command"].split()[1:], "--run", tmp_path / "again", "--quiet", "--json").json
    assert again["best_val_loss"] == result["best"]["value"]
    assert again["config"]["model"]["cell"] == "gru"


def test_a_label_that_training_never_saw_counts_as_wrong_and_is_said(at, charrnn):
    Path("new.tsv").write_text("is the clock here\tquestion\nsing\tsong\n")
    result = charrnn("eval", "new.tsv", "--run", "runs/classify", "--json").json
    assert result["labels"][-1] == "song" and sum(result["confusion"][-1]) == 1
    assert result["accuracy"] <= 0.5
    assert "song" in charrnn("eval", "new.tsv", "--run", "runs/classify").out


MISTAKES = [
    (["train", "kinds.tsv", "--task", "classify", "--lines"], 2, "--lines goes with --task lm, not classify"),
    (["train", "kinds.tsv", "--task", "classify", "--delay", "3"], 2, "--delay goes with --task tag, not classify"),
    (["train", "season.csv", "--task", "series", "--target", "snow"], 2, "--target snow: no such column"),
    (
        ["train", "season.csv", "--task", "series", "--embedding-size", "3"],
        2,
        "--embedding-size: a series is of numbers",
    ),
    (["train", "shapes.txt", "--features", "few.csv"], 3, "few.csv: 2 rows for 80 lines of"),
    (["train", "shapes.txt", "--features", "missing.npy"], 3, "missing.npy: No such file"),
    (["train", "few.csv", "--task", "series"], 3, "few.csv: no header"),
    (["train", "gap.csv", "--task", "series"], 3, "gap.csv, row 2, column b: empty"),
    (["train", "dates.tsv", "--task", "tag"], 3, "dates.tsv, line 1: "),
    (["train", "kinds.tsv", "--task", "classify", "--batch-size", "999"], 2, "the largest that fits is"),
    (["predict", "kinds.tsv", "--run", "runs/classify"], 3, "kinds.tsv, line 1: a tab"),
    (["predict", "odd.txt", "--run", "runs/classify"], 3, "is not in the vocabulary"),
    (["predict", "odd.txt", "--run", "runs/captions"], 2, "use charrnn sample"),
    (["predict", "odd.txt", "--run", "runs/tag", "--beam", "3"], 2, "--beam: not for a model of --task tag"),
    (["predict", "odd.txt", "--run", "runs/tag", "--steps", "3"], 2, "--steps goes with a model of --task series"),
    (["predict", "gap.csv", "--run", "runs/series"], 3, "gap.csv, row 2, column b: empty"),
    (["predict", "other.csv", "--run", "runs/series"], 3, "other.csv: no column temperature"),
    (["sample", "--run", "runs/classify"], 2, "for such there are charrnn predict and charrnn eval"),
    (["sample", "--run", "runs/captions"], 2, "give them with --features"),
    (["sample", "--run", "runs/captions", "--features", "few.csv"], 3, "features 2x2: the model reads rows of 7"),
    (["eval", "shapes.txt", "--run", "runs/captions", "--features", "shapes.csv", "--per-line"], 2, "--per-line"),
    (["eval", "one.csv", "--run", "runs/series"], 3, "one.csv: one row is too few (there must be a next one"),
    (["eval", "empty.tsv", "--run", "runs/tag"], 3, "empty.tsv: no records"),
]


@pytest.mark.parametrize(("words", "code", "message"), MISTAKES, ids=lambda value: None)
def test_a_mistake_is_one_line_that_names_it(words, code, message, at, charrnn):
    one = "".join(Path("season.csv").read_text().splitlines(keepends=True)[:2])
    files = {"few.csv": "1,2\n3,4\n", "gap.csv": "a,b\n1,2\n3,\n", "other.csv": "a,b\n1,2\n", "one.csv": one}
    files["odd.txt"] = "Ω\n"
    for name, text in (*files.items(), ("empty.tsv", "")):
        Path(name).write_text(text)
    outcome = charrnn(*words)
    assert outcome.code == code
    assert outcome.err.count("\n") == 1 and message in outcome.err
    assert not Path("runs/kinds-001").exists()


def test_unknown_characters_can_be_skipped(at, charrnn):
    answers = charrnn("predict", "--run", "runs/tag", "--on-unknown", "skip", stdin="baΩdu\n").out
    assert len(answers.strip()) == 5 and answers[2] == "?"


def test_a_pipe_stays_interactive(at):
    command = [sys.executable, "-m", "charrnn", "predict", "--run", "runs/classify"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as child:
        for _ in range(3):
            child.stdin.write(b"is the clock here\n")
            label, probability = child.stdout.readline().split(b"\t")
            assert label and 0 < float(probability) <= 1
        child.stdin.close()
        assert child.wait(30) == 0


def test_the_data_sets_are_what_their_script_makes():
    sys.path.insert(0, str(DATA))
    try:
        import make
    finally:
        sys.path.remove(str(DATA))
    for name, text in make.all_files().items():
        assert (DATA / name).read_text() == text, name
