"""Studies that are damaged or come from another program: they are read, or refused in one line."""

import contextlib
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

optuna = pytest.importorskip("optuna", reason="the extra `sweep` is not installed")

from charrnn.errors import CharRNNError, RunError  # noqa: E402
from charrnn.plots.terminal import terminal_sweep  # noqa: E402
from charrnn.sweep.storage import JOURNAL, load_study, open_storage  # noqa: E402
from charrnn.sweep.study import Study  # noqa: E402
from charrnn.sweep.trials import log_scale_options, trial_rows  # noqa: E402

VALUES = st.one_of(
    *(st.none(), st.booleans(), st.integers(-3, 3), st.floats(), st.text(max_size=3)),
    *(st.just([]), st.just({}), st.just([1]), st.just({"charrnn": {}})),
)


@pytest.fixture(scope="module")
def plan(make_plan):
    return make_plan(["lr=log:0.001:0.1", "cell=choice:lstm,gru,rnn"], trials=3)


@pytest.fixture(scope="module")
def lines(plan, tmp_path_factory):
    """The journal of a study with a completed, a pruned and a running trial."""
    folder = tmp_path_factory.mktemp("study")
    with Study(plan, folder, None, "fingerprint") as study:
        for state in ("completed", "pruned", None):
            trial = study.next_trial()
            trial.report_progress(0.5, 2.0)
            if state:
                trial.finish(state, 1.5 if state == "completed" else None, workers=1)
    return (folder / JOURNAL).read_bytes().splitlines(keepends=True)


def places(value, path=()):
    """The paths to all values inside a value."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


def with_damage(lines, data):
    """The lines with a line removed, repeated, cut or moved, or with another value somewhere in a line."""
    damaged = list(lines)
    n = data.draw(st.integers(0, len(lines) - 1))
    match data.draw(st.sampled_from(["remove", "repeat", "cut", "move", "value", "value", "value", "key"])):
        case "remove":
            del damaged[n]
        case "repeat":
            damaged.insert(n, damaged[n])
        case "cut":
            damaged[n] = damaged[n][: data.draw(st.integers(0, len(damaged[n])))] + b"\n"
        case "move":
            damaged.append(damaged.pop(n))
        case kind:
            entry = json.loads(damaged[n])
            *path, last = data.draw(st.sampled_from([place for place in places(entry) if place]))
            container = entry
            for key in path:
                container = container[key]
            if kind == "key" and isinstance(container, dict):
                container["x"] = container.pop(last)
            else:
                container[last] = data.draw(VALUES)
            damaged[n] = json.dumps(entry).encode() + b"\n"
    return damaged


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_journal_is_read_or_refused(plan, lines, data):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / JOURNAL).write_bytes(b"".join(with_damage(lines, data)))
        with contextlib.suppress(CharRNNError):
            study = load_study(name, None)
            terminal_sweep(trial_rows(study, folder), "title")
            log_scale_options(study)
        with contextlib.suppress(CharRNNError), Study(plan, folder, None, "fingerprint") as study:
            trial_rows(study.study, folder)
            study.next_trial()


def test_a_study_of_another_program_is_refused(tmp_path, plan):
    path = tmp_path / JOURNAL
    study = optuna.create_study(storage=open_storage(str(path)), study_name="study")
    for _ in range(2):
        trial = study.ask()
        if trial.suggest_categorical("kind", ["a", "b"]) == "a":
            trial.suggest_float("rate", 0, 1)
        study.tell(trial, 1.0)
    with pytest.raises(RunError, match="not created by charrnn"):
        load_study(str(path), None)
    with pytest.raises(RunError, match="not created by charrnn"):
        Study(plan, tmp_path, None, "fingerprint")
