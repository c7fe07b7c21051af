"""charrnn predict: the answers of each task."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from charrnn.tasks.registry import load_model

from .conftest import TASK_FILES, command, error_cases, on_terminal, task_inputs

SOURCES = ["May 3, 1921", "June 4, 1932", "May 3, 1921"]


@pytest.mark.parametrize("task", ["classify", "tag", "translate"])
def test_each_line_is_answered_by_a_line_that_does_not_depend_on_the_others(task, task_runs, charrnn):
    words = ["predict", "--run", f"runs/{task}"]
    lines = task_inputs(task)
    outcome = charrnn(*words, stdin=lines)
    assert outcome.code == 0 and outcome.out.count("\n") == 7
    rows = charrnn(*words, "--json", stdin=lines).rows
    assert [row["input"] for row in rows] == lines.splitlines()
    for line, answer in zip(lines.splitlines(), outcome.out.splitlines(), strict=True):
        assert charrnn(*words, stdin=line + "\n").out == answer + "\n"
    greedy = ["--beam", "1"] if task == "translate" else []
    answers = [line.split("\t")[0] for line in charrnn(*words, *greedy, stdin=lines).out.splitlines()]
    assert load_model(f"runs/{task}").answers(lines.splitlines()) == answers


def test_the_probabilities_of_all_labels_sum_to_one(task_runs, charrnn):
    outcome = charrnn("predict", "--run", "runs/classify", "--top", "4", stdin="is the clock here\n")
    cells = outcome.out.rstrip("\n").split("\t")
    assert sorted(cells[::2]) == ["command", "exclamation", "question", "statement"]
    assert sum(map(float, cells[1::2])) == pytest.approx(1, abs=1e-3)
    assert sorted(cells[1::2], reverse=True) == cells[1::2]


def test_translations_have_log_probabilities(task_runs, charrnn):
    row = charrnn("predict", "--run", "runs/translate", "--top", "3", "--json", stdin=SOURCES[0] + "\n").json
    values = [value for _, value in row["top"]]
    assert len(values) == 3 and values == sorted(values, reverse=True) and values[0] < 0


def test_a_drawn_answer_depends_on_the_seed_and_the_number_of_its_line(task_runs, charrnn):
    def draw(seed, sources):
        words = ["predict", "--run", "runs/translate", "--temperature", "1.5", "--seed", seed]
        return charrnn(*words, stdin="".join(source + "\n" for source in sources)).out.splitlines()

    answers = draw(1, SOURCES)
    assert draw(1, SOURCES) == answers
    assert draw(2, SOURCES) != answers
    assert answers[0] != answers[2]  # of the same source
    assert draw(1, SOURCES[1:2])[0] != answers[1]  # now line 0
    assert draw(1, ["x, 1 M", *SOURCES[1:]])[1:] == answers[1:]


def test_a_slow_pipe_and_a_file_have_the_same_drawn_answers(task_runs, charrnn, tmp_path):
    (tmp_path / "sources.txt").write_text("".join(source + "\n" for source in SOURCES))
    words = ["predict", "--run", "runs/translate", "--temperature", "1.5", "--seed", "1"]
    expected = charrnn(*words, tmp_path / "sources.txt").out.splitlines()
    assert answer_one_by_one(SOURCES, *words) == expected


def test_a_pipe_is_answered_line_by_line(task_runs):
    answers = answer_one_by_one(["is the clock here"] * 3, "predict", "--run", "runs/classify")
    for answer in answers:
        label, probability = answer.split("\t")
        assert label and 0 < float(probability) <= 1


def answer_one_by_one(lines, *arguments):
    """Writes each line after the previous one has been answered. Returns the answers."""
    answers = []
    with subprocess.Popen(command(*arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as child:
        for line in lines:
            child.stdin.write(line.encode() + b"\n")
            answers.append(child.stdout.readline().decode().rstrip("\n"))
        child.stdin.close()
        assert child.wait(30) == 0
    return answers


def test_unknown_characters_can_be_skipped(task_runs, charrnn):
    answers = charrnn("predict", "--run", "runs/tag", "--on-unknown", "skip", stdin="baΩdu\n").out
    assert len(answers.strip()) == 5 and answers[2] == "?"


@pytest.mark.parametrize("task", ["classify", "tag", "translate"])
def test_a_line_without_a_known_character_has_no_answer(task, task_runs, charrnn):
    known, *_ = task_inputs(task).splitlines()
    words = ["predict", "--run", f"runs/{task}", "--on-unknown", "skip"]
    lines = f"{known}Ω\nΩΩ\n\n{known}\n"
    outcome = charrnn(*words, stdin=lines)
    answers = outcome.out.split("\n")
    assert [bool(answer.strip()) for answer in answers] == [True, False, False, True, False]
    assert outcome.err.splitlines() == [
        "skipped 3 symbols outside the vocabulary, in 2 inputs",
        "no answer for 2 inputs without a known symbol: line 2, 3",
    ]
    rows = charrnn(*words, "--json", stdin=lines).rows
    assert [row["skipped"] for row in rows] == [1, 2, 0, 0]
    field = {"classify": "label", "tag": "tags", "translate": "output"}[task]
    assert [row[field] is None for row in rows] == [False, True, True, False]


@pytest.mark.parametrize("task", ["classify", "tag", "translate"])
def test_the_lines_before_an_unknown_character_are_answered(task, task_runs, charrnn):
    known = task_inputs(task).splitlines()[:3]
    words = ["predict", "--run", f"runs/{task}"]
    outcome = charrnn(*words, stdin="\n".join([*known, "aΩ"]))
    assert outcome.out == charrnn(*words, stdin="\n".join(known)).out
    assert (outcome.code, outcome.out.count("\n")) == (3, 3)
    assert "standard input, line 4, column 2: character 'Ω'" in outcome.err


@pytest.mark.parametrize("task", ["classify", "tag", "translate"])
def test_a_file_with_outputs_is_answered_with_both(task, task_runs, charrnn):
    lines = Path(TASK_FILES[task][0]).read_text().splitlines()[:4]
    words = ["predict", "--run", f"runs/{task}"]
    expected = [line.split("\t")[1] for line in lines]
    answers = charrnn(*words, stdin="\n".join(line.split("\t")[0] for line in lines)).out.splitlines()
    both = [f"{answer}\t{output}" for answer, output in zip(answers, expected, strict=True)]
    assert charrnn(*words, stdin="\n".join(lines)).out.splitlines() == both
    rows = charrnn(*words, "--json", stdin="\n".join(lines)).rows
    assert [row["expected"] for row in rows] == expected


def test_columns_select_the_input(task_runs, charrnn):
    words = ["predict", "--run", "runs/classify"]
    expected = charrnn(*words, stdin="is the clock here\n").out
    assert charrnn(*words, "--columns", "2", stdin="7\tis the clock here\n").out == expected
    assert charrnn(*words, "--columns", "text", stdin="id\ttext\n7\tis the clock here\n").out == expected


def test_json_is_utf_8(task_runs, charrnn):
    words = ["predict", "--run", "runs/classify", "--on-unknown", "skip", "--json"]
    outcome = charrnn(*words, stdin="is the çlock\x9b here\n")
    assert "çlock\\u009b" in outcome.out
    assert outcome.json["input"] == "is the çlock\x9b here"


def test_on_a_terminal_stderr_says_which_run_is_used(task_runs):
    for words in (["eval", "kinds.tsv"], ["predict", "kinds.tsv"]):
        shown, _ = on_terminal(*words, "--run", "runs/classify", stream="stderr")
        assert shown.splitlines()[0] == f"model: {Path('runs/classify/best.safetensors')}"


def test_a_series_is_predicted_row_by_row_and_continued_for_any_number_of_steps(task_runs, charrnn):
    header, *rows = charrnn("predict", "season.csv", "--run", "runs/series").out.splitlines()
    assert header == "temperature,rain,visitors" and len(rows) == 119
    following = charrnn("predict", "season.csv", "--run", "runs/series", "--steps", "5").out.splitlines()
    assert len(following) == 6 and following[1] == rows[-1]
    assert charrnn("predict", "season.csv", "--run", "runs/series", "--json").rows[0].keys() == set(header.split(","))
    model = load_model("runs/series")
    values = np.loadtxt("season.csv", delimiter=",", skiprows=1)
    step_by_step = values.copy()
    for _ in range(3):
        step_by_step = np.concatenate([step_by_step, model.predict_rows(step_by_step)[-1:]])
    np.testing.assert_allclose(model.forecast(values, 3), step_by_step[-3:], rtol=1e-4)


@error_cases(
    ("odd.txt --run runs/classify", 3, "odd.txt, line 1, column 1", "'Ω'", "--on-unknown skip"),
    ("mixed.txt --run runs/classify", 3, "mixed.txt, line 1, column 3"),
    ("odd.txt --run runs/classify --columns 1,2,3", 2, "--columns 1,2,3"),
    ("season.csv --run runs/series --header", 2, "--header", "--task series"),
    ("odd.txt --run runs/caption", 2, "--task caption", "charrnn sample"),
    ("odd.txt --run runs/tag --beam 3", 2, "--task tag", "--beam"),
    ("odd.txt --run runs/tag --steps 3", 2, "--steps", "--task series"),
    ("odd.txt --run runs/translate --beam 3 --temperature 1", 2, "--beam", "sampling"),
    ("gap.csv --run runs/series", 3, "gap.csv, line 3, column rain", "missing", "--missing"),
    ("other.csv --run runs/series", 3, "other.csv", "no column temperature"),
    ("season.csv --run runs/series --top 2", 2, "--task series", "--top"),
)
def test_a_mistake_is_named(task_runs, charrnn, tmp_path, arguments, code, facts):
    (tmp_path / "odd.txt").write_text("Ω\n")
    (tmp_path / "mixed.txt").write_text("isΩ\tquestion\n")
    (tmp_path / "gap.csv").write_text("temperature,rain,visitors\n1,2,3\n3,,4\n5,6,7\n")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    places = {name: tmp_path / name for name in ("odd.txt", "mixed.txt", "gap.csv", "other.csv")}
    charrnn("predict", *(places.get(word, word) for word in arguments)).fails(code, *facts)


def test_a_language_model_does_not_answer_lines(charrnn, trained):
    charrnn("predict", "--run", trained, stdin="the fox\n").fails(2, "--task lm", "charrnn sample")
