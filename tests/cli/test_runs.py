"""charrnn runs: the table of runs."""

import csv
import io
import itertools
import re
import shutil
from pathlib import Path

import pytest

from charrnn.runs.reports import Result

from .conftest import error_cases, on_terminal


@pytest.fixture
def three_runs(train, corpus):
    """The results of a lstm, a gru and a rnn of 40, 4 and 20 steps."""
    results = [train(corpus, "--cell", cell, "--max-steps", n) for cell, n in (("lstm", 40), ("gru", 4), ("rnn", 20))]
    assert len({result["best_val_loss"] for result in results}) == 3
    return results


def list_runs(charrnn, *options):
    return charrnn("runs", "--json", *options).json["runs"]


def test_json_has_all_results_and_options_in_the_order_of_the_best_loss(charrnn, three_runs):
    rows = list_runs(charrnn)
    results = sorted(three_runs, key=lambda result: result["best_val_loss"])
    names = set(Result.names()) - {"config"}
    for row, result in zip(rows, results, strict=True):
        config = result["config"]
        expected = {name: result[name] for name in names} | config["model"] | config["train"] | config["data"]
        assert row.items() >= expected.items()


def test_csv_is_the_same_table(charrnn, three_runs):
    outcome = charrnn("runs", "--csv")
    rows = list(csv.DictReader(io.StringIO(outcome.out)))
    listed = list_runs(charrnn)
    assert [row["run"] for row in rows] == [row["run"] for row in listed]
    assert [float(row["best_val_loss"]) for row in rows] == [row["best_val_loss"] for row in listed]
    assert sorted(row["cell"] for row in rows) == ["gru", "lstm", "rnn"]
    assert (outcome.err, "\x1b" in outcome.out) == ("", False)


def test_runs_are_sorted_and_selected_by_any_field(charrnn, three_runs):
    def cells(*options):
        return [row["cell"] for row in list_runs(charrnn, *options)]

    assert cells("--sort", "steps") == ["gru", "rnn", "lstm"]
    assert cells("--sort", "-steps") == ["lstm", "rnn", "gru"]
    assert cells("--sort", "cell") == ["gru", "lstm", "rnn"]
    assert cells("--where", "cell=gru") == ["gru"]
    assert cells("--where", "steps=20", "--where", "hidden_size=8") == ["rnn"]
    assert cells("--where", "steps=20", "--where", "cell=gru") == []
    rate = three_runs[0]["config"]["train"]["learning_rate"]
    assert sorted(cells("--where", f"lr={rate}")) == ["gru", "lstm", "rnn"]
    assert cells("--where", "steps>=20", "--where", "cell!=lstm") == ["rnn"]
    assert cells("--where", "steps<20") == ["gru"]
    assert cells("--where", "best-step>20") == ["lstm"]
    assert cells("--where", f"run={Path(three_runs[1]['run']).name}") == ["gru"]
    assert cells("--where", "test_loss!=-", "--where", "steps=20") == []
    assert len(cells("--where", "corpus=corpus.txt")) == 3
    outcome = charrnn("runs", "--where", "steps>1e6")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "none of the 3 runs matches\n")


def test_columns_are_selected_by_their_names(charrnn, three_runs):
    rows = list_runs(charrnn, "--columns", "run,best-val-loss,lr")
    assert [list(row) for row in rows] == [["run", "best_val_loss", "learning_rate"]] * 3
    lines = charrnn("runs", "--columns", "cell,steps", "--sort", "steps", "--csv").out.splitlines()
    assert lines == ["cell,steps", "gru,4", "rnn,20", "lstm,40"]
    assert charrnn("runs", "--columns", "cell,lr").out.split()[:2] == ["cell", "lr"]


def test_groups_of_runs_are_compared_by_their_medians(charrnn, train, corpus):
    losses = {"lstm": [], "gru": []}
    for cell, seed in itertools.product(losses, (1, 2, 3)):
        losses[cell].append(train(corpus, "--cell", cell, "--seed", seed, "--max-steps", "4")["best_val_loss"])
    groups = charrnn("runs", "--group-by", "cell,hidden-size", "--json").json["groups"]
    expected = [
        {"cell": cell, "hidden_size": 8, "runs": 3, "median": sorted(of)[1], "least": min(of), "greatest": max(of)}
        for cell, of in losses.items()
    ]
    assert groups == sorted(expected, key=lambda group: group["median"])
    assert charrnn("runs", "--group-by", "cell", "--csv").out.splitlines()[0] == "cell,runs,median,least,greatest"


@pytest.mark.parametrize("columns", [30, 60, 100])
def test_the_table_fits_the_terminal_and_does_not_cut_run_and_best_loss(train, corpus, columns):
    name = "a-run-with-a-rather-long-name"
    results = [train(corpus, "--run", f"runs/{name}-{n}", "--max-steps", "4", "--seed", n) for n in (1, 2)]
    shown, _ = on_terminal("runs", columns=columns)
    lines = re.sub(r"\x1b\[[\d;]*m", "", shown).splitlines()
    needed = len(f"{name}-1   best loss   completed   ")
    assert max(map(len, lines)) <= max(columns, needed)
    for result in results:
        (line,) = [line for line in lines if Path(result["run"]).name in line]
        assert f"{result['best_val_loss']:.4f}" in line and " completed " in line
        assert ("lstm 1 x 8" in line) == (columns >= 100)


def test_the_runs_are_grouped_by_task(charrnn, task_directory):
    lines = charrnn("runs", task_directory / "runs").out.splitlines()
    tasks = [line.split()[1] for line in lines if " completed" in line]
    assert tasks == ["classify", "tag", "translate", "series", "caption"]
    (classifier,) = [line for line in lines if " classify " in line]
    assert re.search(r"gru 1 x 12 +[\d.]+ +[\d.]+% +\d:\d\d +completed", classifier)


def test_a_pipe_gets_one_line_for_each_run(charrnn, three_runs, monkeypatch):
    name = "r" * 300
    Path(three_runs[0]["run"]).rename(f"runs/{name[:200]}")
    monkeypatch.setenv("COLUMNS", "40")
    outcome = charrnn("runs")
    assert (outcome.code, outcome.err, "\x1b" in outcome.out) == (0, "", False)
    runs = [name[:200], *(Path(result["run"]).name for result in three_runs[1:])]
    for run, result in zip(runs, three_runs, strict=True):
        (line,) = [line for line in outcome.out.splitlines() if run in line]
        assert f" {result['config']['model']['cell']} 1 x 8 " in line
        assert f" {result['best_val_loss']:.4f} " in line and " completed " in line
    assert len([line for line in outcome.out.splitlines() if " lm " in line]) == 3


def remove_files(*kept):
    return lambda run: [path.unlink() for path in run.iterdir() if path.name not in kept]


def overwrite(name, content):
    return lambda run: (run / name).write_bytes(content)


def overwrite_metrics(content):
    def damage(run):
        (run / "result.json").unlink()
        (run / "metrics.jsonl").write_bytes(content)

    return damage


def use_unknown_cell(run):
    (run / "config.json").write_text((run / "config.json").read_text().replace('"lstm"', '"mamba"'))


DAMAGES = {
    "no result": (lambda run: (run / "result.json").unlink(), "unfinished"),
    "only a configuration": (remove_files("config.json"), "unfinished"),
    "empty": (remove_files(), "broken"),
    "truncated result": (overwrite("result.json", b'{"status": "comp'), "broken"),
    "result of another shape": (overwrite("result.json", b"[]"), "broken"),
    "binary configuration": (overwrite("config.json", b"\xff\x00"), "broken"),
    "unknown cell": (use_unknown_cell, "broken"),
    "truncated metrics": (overwrite_metrics(b'{"step": 1, "val_lo'), "unfinished"),
    "metrics without fields": (overwrite_metrics(b"{}\n"), "broken"),
    "metrics of another shape": (overwrite_metrics(b"[1]\n"), "broken"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_unfinished_and_broken_runs_are_listed_with_their_status(charrnn, train, trained, corpus, damage):
    apply, status = DAMAGES[damage]
    train(corpus, "--max-steps", "2")
    shutil.copytree(trained, "runs/other")
    apply(Path("runs/other"))
    statuses = {Path(row["run"]).name: row["status"] for row in list_runs(charrnn)}
    assert statuses == {"corpus-001": "completed", "other": status}
    for options in ([], ["--csv"], ["--sort", "steps"]):
        outcome = charrnn("runs", *options)
        assert (outcome.code, outcome.err) == (0, "")
        assert status in outcome.out


def test_a_run_that_is_being_trained_is_running(charrnn, started, corpus):
    started("train", corpus, "--run", "runs/r", "--hidden-size", "8", "--max-steps", "100000000", "--eval-every", "20")
    assert list_runs(charrnn)[0]["status"] == "running"


def test_an_empty_directory_is_reported(charrnn):
    Path("runs").mkdir()
    outcome = charrnn("runs")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "no runs in runs\n")
    assert list_runs(charrnn) == []


@error_cases(
    ("--where cell", 2, "--where cell", "FIELD=VALUE", "<="),
    ("--where colour=red", 2, "--where colour", "no such field", "modified, corpus, cell"),
    ("--sort colour", 2, "--sort colour", "no such field", "modified, corpus, cell"),
    ("--columns colour", 2, "--columns colour", "no such field", "modified, corpus, cell"),
    ("--group-by colour", 2, "--group-by colour", "no such field", "modified, corpus, cell"),
)
def test_an_unknown_field_is_named_with_the_known_ones(charrnn, trained, arguments, code, facts):
    charrnn("runs", trained.parent, *arguments).fails(code, *facts)
