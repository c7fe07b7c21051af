"""What a sweep varies: `--grid hidden-size=64,128` and `--search lr=log:1e-4:1e-2` as dimensions of a space."""

from __future__ import annotations

import dataclasses
import itertools
import math
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from charrnn.errors import UsageError
from charrnn.fields import CheckedFields, flag
from charrnn.options import ALIASES, DataOptions, ModelOptions, RunConfig, TrainingOptions, check_exclusive
from charrnn.training.defaults import TASK_DEFAULTED

Value = bool | int | float | str
KINDS = ("log", "int", "float", "choice")
CLASSES: dict[str, type[CheckedFields]] = {
    spec.name: cls for cls in (ModelOptions, DataOptions, TrainingOptions) for spec in dataclasses.fields(cls)
}
FITTING = {int: ("int", "log", "choice"), float: ("float", "log", "choice")}  # of other types: choice


@dataclass(frozen=True)
class Dimension:
    """An option and the values it may take: from low to high, or one of the choices."""

    name: str
    kind: str
    low: float = 0
    high: float = 0
    choices: tuple[Value, ...] = ()

    @property
    def size(self) -> float:
        """How many values there are."""
        if self.choices:
            return len(self.choices)
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        return self.high - self.low + 1 if whole else math.inf

    @property
    def ends(self) -> tuple[Value, ...]:
        """The values that show whether all of them are in range."""
        return self.choices or (self.low, self.high)


@dataclass(frozen=True)
class Plan:
    """What a sweep was asked to do. options: those of `charrnn train` that all trials share."""

    corpus: tuple[str, ...]
    options: dict[str, Any]
    space: tuple[Dimension, ...]
    is_grid: bool
    study: str
    trials: int
    jobs: int = 1
    prune: bool = False
    repeats: int = 1  # runs of each point, with seeds one after another

    @property
    def seed(self) -> int:
        return int(self.options.get("seed", TrainingOptions.seed))

    def run_config(self, params: dict[str, Any], repeat: int = 0) -> RunConfig:
        """The configuration of a run of the trial with these values. Raises UsageError."""
        return RunConfig.from_options(self.corpus, self.options | params | {"seed": self.seed + repeat})

    def unset(self, params: dict[str, Any]) -> list[str]:
        """What the task may choose: neither given nor varied. Not the hidden size, so that trials compare."""
        return [name for name in TASK_DEFAULTED if name not in {"hidden_size", *self.options, *params}]

    def points(self) -> Iterator[dict[str, Any]]:
        """All points of a grid; of a search, enough to see whether every value is in range."""
        names = [dimension.name for dimension in self.space]
        if self.is_grid:
            yield from (dict(zip(names, point, strict=True)) for point in grid_points(self.space))
            return
        first = {dimension.name: dimension.ends[0] for dimension in self.space}
        for dimension in self.space:
            yield from (first | {dimension.name: value} for value in dimension.ends)


def grid_points(space: tuple[Dimension, ...]) -> Iterator[tuple[Value, ...]]:
    """The last option varies fastest."""
    return itertools.product(*(dimension.choices for dimension in space))


def space_size(space: tuple[Dimension, ...]) -> float:
    """How many different points there are; infinite if a fraction is varied."""
    return math.prod(dimension.size for dimension in space)


def parse_space(grid: list[str], search: list[str], options: dict[str, Any]) -> tuple[Dimension, ...]:
    """The dimensions, no option twice, none of them among the fixed options. Raises UsageError."""
    check_exclusive({"grid": grid, "search": search})
    if not grid and not search:
        raise UsageError("nothing to vary: give --grid or --search")
    space = tuple(map(parse_grid, grid)) or tuple(map(parse_search, search))
    names = [dimension.name for dimension in space]
    for name in names:
        if name == "seed":
            raise UsageError("--seed is varied: luck is not an option to win by", "see --repeats")
        if names.count(name) > 1:
            raise UsageError(f"{flag(name)} is varied twice")
        if name in options:
            raise UsageError(f"{flag(name)} is both given and varied")
    return space


def parse_grid(text: str) -> Dimension:
    """NAME=VALUE,VALUE,..."""
    name, values = _split(text, "--grid", "such as hidden-size=64,128,256")
    return _choice(name, values, f"--grid {text}")


def parse_search(text: str) -> Dimension:
    """NAME=KIND:..., where KIND is log, int, float (:LOW:HIGH) or choice (:VALUE,VALUE,...)."""
    name, rest = _split(text, "--search", "such as lr=log:1e-4:1e-2 or cell=choice:lstm,gru")
    kind, _, values = rest.partition(":")
    where = f"--search {text}"
    if kind not in KINDS:
        raise UsageError(f"{where}: {kind!r} is not one of {', '.join(KINDS)}")
    if kind == "choice":
        return _choice(name, values, where)
    fitting = FITTING.get(_type(name), ("choice",))
    if kind not in fitting:
        raise UsageError(f"{where}: {flag(name)} goes with {', '.join(fitting)}")
    low, colon, high = values.partition(":")
    if not colon:
        raise UsageError(f"{where}: not of the form NAME={kind}:LOW:HIGH")
    dimension = Dimension(name, kind, _value(name, low, where), _value(name, high, where))
    if not dimension.low < dimension.high:
        raise UsageError(f"{where}: {low} is not below {high}")
    if kind == "log" and dimension.low <= 0:
        raise UsageError(f"{where}: a logarithmic range starts above 0")
    return dimension


def _split(text: str, option: str, example: str) -> tuple[str, str]:
    name, equals, rest = text.partition("=")
    if not equals:
        raise UsageError(f"{option} {text}: not of the form NAME=...", example)
    name = name.strip().removeprefix("--").replace("-", "_")
    name = ALIASES.get(name, name)
    if name not in CLASSES:
        raise UsageError(f"{option} {text}: charrnn train has no option {flag(name)} to vary")
    return name, rest


def _choice(name: str, text: str, where: str) -> Dimension:
    choices = tuple(_value(name, value, where) for value in text.split(","))
    if len(set(choices)) < len(choices):
        raise UsageError(f"{where}: a value is given twice")
    return Dimension(name, "choice", choices=choices)


def _type(name: str) -> type:
    hint = typing.get_type_hints(CLASSES[name])[name]
    kinds = [kind for kind in typing.get_args(hint) or (hint,) if kind is not type(None)]
    return kinds[0]  # type: ignore[no-any-return]


def _value(name: str, text: str, where: str) -> Any:
    """A value of the option's type and in its range."""
    kind, text = _type(name), text.strip()
    try:
        value = {"true": True, "false": False}[text] if kind is bool else kind(text)
    except (ValueError, KeyError):
        wanted = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
        raise UsageError(f"{where}: {text!r} is not {wanted}") from None
    CLASSES[name].from_dict({name: value})
    return value
