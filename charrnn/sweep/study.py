"""The study: which trials there are, whose they are, what comes next. The only module that knows Optuna.

Several processes, on one machine or many, may work on one study. Each trial is RUNNING from its birth and carries its
owner's name; the owner and the processes of its trials hold a lock on the file of that name under `<folder>/.study` for
as long as one of them lives. So a trial whose owner's file lies here and is not locked belongs to the dead, and may be
taken over; a trial whose owner's file is not here is trained somewhere else.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, PartialFixedSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from charrnn.errors import RunError
from charrnn.runs.directory import STUDY, Run
from charrnn.runs.files import read_regular, storage_error, write_atomically
from charrnn.sweep.space import Dimension, Plan
from charrnn.sweep.storage import JOURNAL, open_storage, storage_errors
from charrnn.training.trainer import EVALUATIONS

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)

OF_THE_MACHINE = ("workers", "device", "precision", "val_file")  # options that may differ where a study is shared
ID = "id"  # beside the owners: the folder's name, which its study knows
TRIAL = 2  # purpose of a random stream: generators are keyed by (seed, purpose, number)
STARTUP = 5  # finished trials before the first is pruned, and the part of its budget
WARMUP = EVALUATIONS // 4  # that each trial gets
CONVINCED = 5  # draws of points that had their trial, until any new point will do
DRAWS = 1000


class Study:
    """A study and this process's part in it. Use as a context manager."""

    def __init__(self, plan: Plan, folder: Path, storage: str | None, fingerprint: str) -> None:
        """fingerprint: of the corpus. Raises RunError if the study is another one, StorageError."""
        self.plan, self.folder, self.owner = plan, folder, uuid.uuid4().hex
        if Run(folder).config.exists():
            raise RunError(f"{folder}: is a run", "choose another --study")
        median = optuna.pruners.MedianPruner(STARTUP, WARMUP)
        self.storage = open_storage(storage or str(folder / JOURNAL))
        self.owners = folder / STUDY
        try:
            self.owners.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(self.owners, error) from None
        with storage_errors(), self._alone():
            self.study = optuna.create_study(
                storage=self.storage,
                study_name=plan.study,
                load_if_exists=True,
                pruner=median if plan.prune else optuna.pruners.NopPruner(),
            )
            self._identify(fingerprint)

    def __enter__(self) -> Study:
        with self._alone():
            self.owner_fd = os.open(self.owners / self.owner, os.O_CREAT | os.O_RDWR)
            fcntl.flock(self.owner_fd, fcntl.LOCK_EX)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.owner_fd)
        with self._alone():
            needed = {trial.user_attrs.get("owner", "") for trial in self._running()}
            for path in self.owners.iterdir():
                if path.name not in (*needed, ID) and self._dead(path.name):
                    path.unlink()

    def _identify(self, fingerprint: str) -> None:
        """Notes what the study is about, or compares."""
        plan = self.plan
        options = {name: value for name, value in plan.options.items() if name not in OF_THE_MACHINE}
        if plan.repeats > 1:
            options["repeats"] = plan.repeats
        about = {"search space": [vars(dimension) for dimension in plan.space], "options": options}
        mine = json.loads(json.dumps(about | {"corpus": fingerprint}))
        trials = self.trials()  # asked for first: another machine may be beginning the study
        if "charrnn" not in self.study.user_attrs:
            if trials:
                raise RunError(f"study {plan.study}: not begun by charrnn", "choose another --study")
            self.study.set_user_attr("charrnn", mine)
        theirs = self.study.user_attrs["charrnn"]
        if not isinstance(theirs, dict):
            raise RunError(f"study {plan.study}: its description is damaged", "choose another --study")
        if other := [name for name in mine if theirs.get(name) != mine[name]]:
            raise RunError(f"study {plan.study}: not the {other[0]} that it was begun with", "choose another --study")
        known = self.owners / ID
        if not known.exists() and not any(self.folder.glob("**/config.json")):
            # Under a key of its own: machines that begin a study at the same moment do not overwrite each other.
            self.study.set_user_attr(_of_folder(self.owner), True)
            write_atomically(known, self.owner.encode())
        if not known.exists() or _of_folder(_text(known)) not in self.study.user_attrs:
            raise RunError(f"{self.folder}: holds runs that are not of this study", "choose another --study")

    def trials(self) -> list[FrozenTrial]:
        return counting(self.study)

    def _running(self) -> list[FrozenTrial]:
        return [trial for trial in self.trials() if trial.state == TrialState.RUNNING]

    def others_running(self) -> bool:
        """Whether other processes that use this folder have trials: those may still be left to this one."""
        owners = {trial.user_attrs.get("owner", "") for trial in self._running()} - {self.owner}
        return any((self.owners / owner).exists() for owner in owners)

    def next_trial(self) -> Trial | None:
        """One whose owner died, or else a new one; None if there is none to be had now."""
        with self._alone():
            for frozen in self._running():
                if self._dead(frozen.user_attrs.get("owner", "")):
                    self.storage.set_trial_user_attr(frozen._trial_id, "owner", self.owner)
                    return self._begin(frozen)
            for draw in range(DRAWS):
                if len(self.trials()) >= self.plan.trials:
                    return None
                newborn = create_trial(state=TrialState.RUNNING, user_attrs={"owner": self.owner})
                study_id = self.storage.get_study_id_from_name(self.plan.study)
                frozen = self.storage.get_trial(self.storage.create_new_trial(study_id, newborn))
                trial = self._begin(frozen, draw)
                if trial is None or not self._had(trial):
                    return trial
                self._give_up(frozen)
            return None

    def _had(self, trial: Trial) -> bool:
        """Whether the same point has had its trial: it would end in the same bits."""
        return any(other.number != trial.number and other.params == trial.params for other in self.trials())

    def _give_up(self, frozen: FrozenTrial) -> None:
        """It does not count."""
        self.storage.set_trial_user_attr(frozen._trial_id, "surplus", True)
        self.study.tell(frozen.number, state=TrialState.FAIL)

    def _begin(self, frozen: FrozenTrial, draw: int = 0) -> Trial | None:
        """Gives a trial its values, those that it has or new ones."""
        place = sum(other.number < frozen.number for other in self.trials())
        if place >= self.plan.trials:
            self._give_up(frozen)
            return None
        self.study.sampler = self._sampler(place, frozen.number, draw)
        trial = optuna.trial.Trial(self.study, frozen._trial_id)
        params = {dimension.name: _suggest(trial, dimension) for dimension in self.plan.space}
        name = run_name(frozen.number)
        names = [name, *(f"{name}-{repeat}" for repeat in range(2, self.plan.repeats + 1))]
        return Trial(trial, params, [Run(self.folder / name) for name in names], frozen.intermediate_values)

    def _sampler(self, place: int, number: int, draw: int) -> BaseSampler:
        """Keyed by the trial, so that neither two processes nor a continued one draw the same numbers twice."""
        seed = int(np.random.SeedSequence((self.plan.seed, TRIAL, number)).generate_state(1)[0])
        if self.plan.is_grid:
            return PartialFixedSampler(list(self.plan.points())[place], RandomSampler(seed))
        return TPESampler(seed=seed, constant_liar=True) if draw < CONVINCED else RandomSampler(seed)

    def _dead(self, owner: str) -> bool:
        try:
            with open(self.owners / owner) as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except FileNotFoundError:  # it works in a folder of its own, on this machine or another
            return False
        return True

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """While no other process that uses this folder looks for a trial."""
        fd = os.open(self.owners, os.O_RDONLY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


class Trial:
    """A trial that this process trains."""

    def __init__(
        self, trial: optuna.trial.Trial, params: dict[str, Any], runs: list[Run], known: dict[int, float]
    ) -> None:
        """runs: one for each seed; the trial is judged by the median of their losses."""
        self.trial, self.params, self.runs, self.known = trial, params, runs, dict(known)
        self.number, self.pruned, self.heard = trial.number, False, False
        self.losses: list[float] = []  # of the runs that are done

    def report(self, progress: float, loss: float) -> bool:
        """The validation loss so far in the budget, in twentieths, so that trials of any speed compare.

        True if the trial is hopeless.
        """
        now = int(EVALUATIONS * progress)
        if now in self.known:
            return False
        last = max(self.known, default=now)
        for step in range(last + 1, now):  # evaluated less often than others: there it stood as before
            self._report(self.known[last], step)
        self._report(loss, now)
        return self.trial.should_prune()

    def _report(self, loss: float, step: int) -> None:
        self.known[step] = loss
        self.trial.report(loss, step)

    def tell(self, state: str, *, loss: float | None = None, **facts: Any) -> None:
        """completed, pruned, diverged or failed. Optuna learns from a diverged trial as from one pruned."""
        for name, value in {"state": state, **facts}.items():
            self.trial.set_user_attr(name, value)
        states = {"completed": TrialState.COMPLETE, "failed": TrialState.FAIL}
        self.trial.study.tell(self.trial, loss, states.get(state, TrialState.PRUNED))


def _text(path: Path) -> str:
    try:
        return read_regular(path, 1 << 10).decode()
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: damaged: {error}") from None


def _of_folder(identity: str) -> str:
    return f"folder {identity}"


def _suggest(trial: optuna.trial.Trial, dimension: Dimension) -> Any:
    name, low, high = dimension.name, dimension.low, dimension.high
    if dimension.choices:
        return trial.suggest_categorical(name, dimension.choices)
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(name, low, high, log=dimension.kind == "log")
    return trial.suggest_float(name, low, high, log=dimension.kind == "log")


def counting(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that count, by number: where two machines both begin the last one, one of the two is surplus."""
    return [trial for trial in study.get_trials(deepcopy=False) if "surplus" not in trial.user_attrs]


def rows(study: optuna.Study, folder: Path) -> list[dict[str, Any]]:
    """The trials as plain data, the best first; value is the best validation loss known."""
    found = []
    for trial in counting(study):
        known = [trial.values[0]] if trial.values else trial.intermediate_values.values()
        row: dict[str, Any] = {
            "number": trial.number,
            "state": "running" if trial.state == TrialState.RUNNING else trial.user_attrs.get("state", "failed"),
            "value": min(known, default=None),
            "params": trial.params,
            "run": str(folder / run_name(trial.number)),
        }
        found.append(row | {name: trial.user_attrs[name] for name in ("error", "workers") if name in trial.user_attrs})

    def rank(row: dict[str, Any]) -> tuple[bool, float]:
        return row["state"] != "completed", math.inf if row["value"] is None else row["value"]

    return sorted(found, key=rank)


def logarithmic(study: optuna.Study) -> set[str]:
    """The options that are searched on a logarithmic scale."""
    space = study.user_attrs.get("charrnn", {}).get("search space", [])
    return {dimension["name"] for dimension in space if dimension["kind"] == "log"}


def run_name(number: int) -> str:
    return f"{number:03d}"
