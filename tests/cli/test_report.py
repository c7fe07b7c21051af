"""charrnn report and charrnn train --live."""

from pathlib import Path

from charrnn.runs.directory import Run
from charrnn.training.observers import Observers

from .conftest import error_cases


def test_a_report_of_the_newest_run_and_of_several_runs(charrnn, train, corpus):
    for name in ("a", "b"):
        train(corpus, "--max-steps", 2, "--run", f"runs/{name}")
    assert charrnn("report", "-o", "one.html").err == "saved one.html\n"
    assert "charrnn · b · completed" in Path("one.html").read_text()
    assert charrnn("report", "a", "runs/b", "--output", "two.html").code == 0
    assert "2 runs on corpus.txt" in Path("two.html").read_text()


def test_a_live_page_has_a_sample_of_each_evaluation_which_are_not_printed(charrnn, corpus):
    options = ("--hidden-size", 8, "--workers", 1, "--max-steps", 4, "--eval-every", 2)
    outcome = charrnn("train", corpus, "--run", "r", "--live", *options)
    assert f"live page: {Path('r/live.html').absolute().as_uri()}\n" in outcome.err
    assert "--- sample ---" not in outcome.err
    assert Path("r/live.html").read_text().count("<b>step ") == 2
    assert len(Run(Path("r")).samples.read_text().splitlines()) == 2
    charrnn("train", corpus, "--run", "s", *options)
    assert not Path("s/samples.jsonl").exists()


def test_the_samples_of_a_resumed_run_are_those_of_an_uninterrupted_run(charrnn, corpus):
    options = ("--hidden-size", 8, "--workers", 1, "--dropout", 0, "--recurrent-dropout", 0, "--sample-every", 1)
    charrnn("train", corpus, "--run", "whole", "--max-steps", 4, *options)
    charrnn("train", corpus, "--run", "r", "--max-steps", 2, *options)
    with Path("r/samples.jsonl").open("a") as file:
        file.write('{"step": 3, "text": "written after the last save"}\n')
    charrnn("train", "--resume", "r", "--max-steps", 4)
    assert Path("r/samples.jsonl").read_text() == Path("whole/samples.jsonl").read_text()


def test_an_observer_that_fails_is_dropped_with_one_line():
    class Failing:
        def begin(self):
            pass

        def show(self, event):
            raise OSError("no connection\nmore lines")

    class Counting:
        events = 0

        def begin(self):
            self.events += 1

        def show(self, event):
            self.events += 1

    lines = []
    counting = Counting()
    observers = Observers({"--log x": Failing(), "--live": counting}, lines.append)
    observers.begin()
    for event in (1, 2, 3):
        observers.show(event)
    assert lines == ["--log x: no connection more lines; the run continues without it"]
    assert counting.events == 4


@error_cases(
    ("report -o report.txt", 2, "report.txt", ".html"),
    ("report -o report.html", 4, "no runs"),
    ("report missing -o report.html", 4, "missing", "no such run"),
)
def test_an_error_is_one_line(charrnn, arguments, code, facts):
    charrnn(*arguments).fails(code, *facts)
