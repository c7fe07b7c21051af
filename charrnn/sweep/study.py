"""A study: its trials, the process that trains each of them, and the choice of the next trial.

Several processes, on one machine or on several, may work on one study. A trial is created in the state RUNNING, with
its values and the name of its owner. The owner is the process that trains the trial; see OwnerLocks.

Only one of the processes that share a folder can look for a trial at a time. Processes with different folders share
only the storage, which numbers the trials. Two of these processes may create trials with the same values at the same
time, or both may create the last trial. The trial with the higher number is then surplus: it is neither trained nor
counted.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import MedianPruner
from optuna.samplers import RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from charrnn.errors import RunError
from charrnn.runs.directory import STUDY, Run
from charrnn.runs.files import dump_json, read_regular, write_atomically
from charrnn.seeding import Purpose, generator_key
from charrnn.sweep.locks import OwnerLocks
from charrnn.sweep.plan import Plan
from charrnn.sweep.space import Dimension, Value, grid_points
from charrnn.sweep.storage import JOURNAL, open_storage, reading_study, storage_errors
from charrnn.sweep.trials import check_study, counted_trials, run_name
from charrnn.training.trainer import EVALUATIONS

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # for constant_liar in Optuna 4

MACHINE_OPTIONS = ("workers", "device", "precision", "val_file")  # these may differ between machines
PRUNING_MIN_TRIALS = 5  # trials that must be completed before a trial is pruned
PRUNING_MIN_PROGRESS = EVALUATIONS // 4  # no trial is pruned in the first quarter of its budget
MAX_TPE_DRAWS = 5  # if TPE draws points that already have a trial this many times, points are drawn at random


class Study:
    """A study, and the trials that this process owns. Use it as a context manager."""

    def __init__(self, plan: Plan, folder: Path, storage: str | None, fingerprint: str) -> None:
        """Opens the study, or creates it.

        folder: where the runs are saved; fingerprint: of the corpus. Raises RunError if the study has another plan or
        the folder contains other runs, StorageError if the study cannot be read or written.
        """
        self.plan = plan
        self.folder = folder
        if Run(folder).config.exists():
            raise RunError(f"{folder}: is a run", "choose another --study")
        self.storage = open_storage(storage or str(folder / JOURNAL))
        self.owners = OwnerLocks(folder)
        with storage_errors(), self.owners.mutex(), reading_study(f"study {plan.study}"):
            self.study = optuna.create_study(
                storage=self.storage,
                study_name=plan.study,
                load_if_exists=True,
                pruner=MedianPruner(PRUNING_MIN_TRIALS, PRUNING_MIN_PROGRESS),
            )
            self._check_plan(fingerprint)
            self._check_folder()

    def _check_plan(self, fingerprint: str) -> None:
        """Saves the plan in the study, or compares it with the saved one."""
        plan = self.plan
        options = {name: value for name, value in plan.options.items() if name not in MACHINE_OPTIONS}
        if plan.repeats > 1:
            options["repeats"] = plan.repeats
        space = [vars(dimension) for dimension in plan.space]
        description = json.loads(dump_json({"search space": space, "options": options, "corpus": fingerprint}))
        trials_exist = bool(self.trials())  # read before the attributes: another machine may start the study now
        if "charrnn" not in self.study.user_attrs:
            if trials_exist:
                raise RunError(f"study {plan.study}: was not created by charrnn", "choose another --study")
            self.study.set_user_attr("charrnn", description)
        check_study(self.study)
        saved = self.study.user_attrs["charrnn"]
        for name, value in description.items():
            if saved.get(name) != value:
                raise RunError(f"study {plan.study}: was started with a different {name}", "choose another --study")

    def _check_folder(self) -> None:
        """Gives the folder an identifier that the study stores, or compares it with the stored ones."""
        id_file = self.folder / STUDY / "id"
        if not id_file.exists() and not any(self.folder.glob("**/config.json")):
            # Each folder has its own attribute, so that machines cannot overwrite each other's identifiers.
            self.study.set_user_attr(f"folder {self.owners.this_process}", True)
            write_atomically(id_file, self.owners.this_process.encode())
        try:
            is_known = id_file.exists() and f"folder {read_regular(id_file, 1 << 10).decode()}" in self.study.user_attrs
        except (OSError, ValueError) as error:
            raise RunError(f"{id_file}: damaged: {error}") from None
        if not is_known:
            raise RunError(f"{self.folder}: contains runs that do not belong to this study", "choose another --study")

    def __enter__(self) -> Study:
        self.owner_lock = self.owners.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.owner_lock.release()
        with self.owners.mutex():
            self.owners.remove_dead(keep={_owner(trial) for trial in self._running_trials()})

    def trials(self) -> list[FrozenTrial]:
        """The trials of all processes, ordered by number, without surplus trials."""
        return counted_trials(self.study)

    def _running_trials(self) -> list[FrozenTrial]:
        return [trial for trial in self.trials() if trial.state == TrialState.RUNNING]

    def other_owners_exist(self) -> bool:
        """Whether other processes that use this folder own trials, which this process may have to take over."""
        others = {_owner(trial) for trial in self._running_trials()} - {self.owners.this_process}
        return any(self.owners.uses_this_folder(owner) for owner in others)

    def next_trial(self) -> Trial | None:
        """Takes over a trial whose owner is dead, or creates a trial. None if neither is possible now."""
        with self.owners.mutex():
            for frozen in self._running_trials():
                if self.owners.is_dead(_owner(frozen)):
                    self.storage.set_trial_user_attr(frozen._trial_id, "owner", self.owners.this_process)
                    if trial := self._start_trial(frozen):
                        return trial
            while len(self.trials()) < self.plan.trials:
                if trial := self._start_trial(self._create_trial()):
                    return trial
        return None

    def _create_trial(self) -> FrozenTrial:
        template = create_trial(
            state=TrialState.RUNNING,
            params=self._new_point(),
            distributions=_distributions(self.plan.space),
            user_attrs={"owner": self.owners.this_process},
        )
        study_id = self.storage.get_study_id_from_name(self.plan.study)
        return self.storage.get_trial(self.storage.create_new_trial(study_id, template))

    def _start_trial(self, frozen: FrozenTrial) -> Trial | None:
        """The trial with its run directories. If it is surplus, marks it as such and returns None."""
        earlier = [trial for trial in self.trials() if trial.number < frozen.number]
        if len(earlier) >= self.plan.trials or any(trial.params == frozen.params for trial in earlier):
            self.storage.set_trial_user_attr(frozen._trial_id, "surplus", True)
            self.study.tell(frozen.number, state=TrialState.FAIL)
            return None
        name = run_name(frozen.number)
        names = [name, *(f"{name}-{repeat}" for repeat in range(2, self.plan.repeats + 1))]
        return Trial(self.study, frozen, [Run(self.folder / name) for name in names])

    def _new_point(self) -> dict[str, Value]:
        """The values of the next trial, which no other trial has."""
        used = [trial.params for trial in self.trials()]
        if self.plan.is_grid:
            return next(point for point in grid_points(self.plan.space) if point not in used)
        key = generator_key(self.plan.seed, Purpose.TRIAL, len(used))
        seed = int(np.random.SeedSequence(key).generate_state(1)[0])
        # Draws are made in a copy of the study, so that only the point that is used becomes a trial.
        copy = optuna.create_study(sampler=TPESampler(seed=seed, constant_liar=True))
        copy.add_trials(self.trials())
        draws = 0
        while True:
            point: dict[str, Value] = copy.ask(_distributions(self.plan.space)).params
            if point not in used:
                return point
            draws += 1
            if draws == MAX_TPE_DRAWS:
                copy.sampler = RandomSampler(seed)


class Trial:
    """A trial that this process owns: one run, or one run for each seed."""

    def __init__(self, study: optuna.Study, frozen: FrozenTrial, runs: list[Run]) -> None:
        self.number = frozen.number
        self.params: dict[str, Value] = frozen.params
        self.runs = runs
        self.losses: list[float] = []  # the best validation loss of each completed run
        self.reported = dict(frozen.intermediate_values)
        self._study = study
        self._trial = optuna.trial.Trial(study, frozen._trial_id)

    def report_progress(self, progress: float, loss: float) -> bool:
        """Reports the validation loss to the pruner. Returns True if the trial should be pruned.

        progress: the used fraction of the budget, from 0 to 1. The budget is divided into EVALUATIONS steps, so that
        slow and fast trials can be compared. A step without an evaluation gets the loss of the previous evaluation:
        after (4, 3.0) and (7, 2.5), steps 5 and 6 have the loss 3.0.
        """
        step = int(EVALUATIONS * progress)
        if step in self.reported:
            return False
        last = max(self.reported, default=step)
        for between in range(last + 1, step):
            self._report(between, self.reported[last])
        self._report(step, loss)
        return self._trial.should_prune()

    def _report(self, step: int, loss: float) -> None:
        self.reported[step] = loss
        self._trial.report(loss, step)

    def finish(self, state: str, loss: float | None = None, **attributes: Any) -> None:
        """Saves the outcome of the trial. state: completed, pruned, diverged or failed.

        loss: the loss of a completed trial. A diverged trial has the state "pruned" in Optuna.
        """
        for name, value in {"state": state, **attributes}.items():
            self._trial.set_user_attr(name, value)
        optuna_states = {"completed": TrialState.COMPLETE, "failed": TrialState.FAIL}
        self._study.tell(self._trial, loss, optuna_states.get(state, TrialState.PRUNED))


def _owner(trial: FrozenTrial) -> str:
    return str(trial.user_attrs["owner"])


def _distributions(space: tuple[Dimension, ...]) -> dict[str, BaseDistribution]:
    return {dimension.name: _distribution(dimension) for dimension in space}


def _distribution(dimension: Dimension) -> BaseDistribution:
    if dimension.choices:
        return CategoricalDistribution(dimension.choices)
    if isinstance(dimension.low, int) and isinstance(dimension.high, int):
        return IntDistribution(dimension.low, dimension.high, log=dimension.kind == "log")
    return FloatDistribution(dimension.low, dimension.high, log=dimension.kind == "log")
