"""The options that a sweep varies: `--grid hidden-size=64,128` and `--search lr=log:1e-4:1e-2` become dimensions."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from charrnn.errors import UsageError
from charrnn.fields import CheckedFields, field_types, flag
from charrnn.options import ALIASES, DataOptions, ModelOptions, TrainingOptions, check_exclusive

Value = bool | int | float | str
KINDS = ("log", "int", "float", "choice")
NUMERIC_KINDS = {int: ("int", "log", "choice"), float: ("float", "log", "choice")}  # options of other types: choice
OPTION_CLASSES: dict[str, type[CheckedFields]] = {
    field.name: cls for cls in (ModelOptions, DataOptions, TrainingOptions) for field in dataclasses.fields(cls)
}


@dataclass(frozen=True)
class Dimension:
    """An option and its possible values: either those from low to high, or the choices."""

    name: str
    kind: str
    low: float = 0
    high: float = 0
    choices: tuple[Value, ...] = ()

    @property
    def size(self) -> float:
        """The number of values; infinite for a range of floating-point numbers."""
        if self.choices:
            return len(self.choices)
        return self.high - self.low + 1 if isinstance(self.low, int) else math.inf

    @property
    def extremes(self) -> tuple[Value, ...]:
        """The values to check. If they are valid, then all values of the dimension are."""
        return self.choices or (self.low, self.high)


def grid_points(space: tuple[Dimension, ...]) -> Iterator[dict[str, Value]]:
    """All combinations of the choices. The last dimension varies fastest."""
    names = [dimension.name for dimension in space]
    for values in itertools.product(*(dimension.choices for dimension in space)):
        yield dict(zip(names, values, strict=True))


def extreme_points(space: tuple[Dimension, ...]) -> Iterator[dict[str, Value]]:
    """Yields a point for each extreme of each dimension. The other dimensions have their first value."""
    first = {dimension.name: dimension.extremes[0] for dimension in space}
    for dimension in space:
        for value in dimension.extremes:
            yield first | {dimension.name: value}


def space_size(space: tuple[Dimension, ...]) -> float:
    """The number of different points; infinite if a dimension is a range of floating-point numbers."""
    return math.prod(dimension.size for dimension in space)


def to_options(point: dict[str, Value]) -> dict[str, Any]:
    """The point as options of `charrnn train`. An option that takes a list, such as target, gets one element."""
    return {name: [value] if _takes_list(name) else value for name, value in point.items()}


def parse_space(grid: list[str], search: list[str], options: dict[str, Any]) -> tuple[Dimension, ...]:
    """Parses the dimensions of a sweep.

    grid, search: the values of --grid and --search; options: the options that have one value in all trials. Raises
    UsageError if a value is invalid, or if an option is varied twice or both given and varied.
    """
    check_exclusive({"grid": grid, "search": search}, [("grid", "search", "")])
    if not grid and not search:
        raise UsageError("no option to vary: give --grid or --search")
    space = tuple(map(parse_grid, grid)) or tuple(map(parse_search, search))
    names = [dimension.name for dimension in space]
    for name in names:
        if name == "seed":
            raise UsageError("--seed cannot be varied", "--repeats trains each point with several seeds")
        if names.count(name) > 1:
            raise UsageError(f"{flag(name)} is varied twice")
        if name in options:
            raise UsageError(f"{flag(name)} is both given and varied")
    return space


def parse_grid(text: str) -> Dimension:
    """Parses a value of --grid: NAME=VALUE,VALUE,..."""
    name, values = _split(text, "--grid", "for example hidden-size=64,128,256")
    return _parse_choices(name, values, f"--grid {text}")


def parse_search(text: str) -> Dimension:
    """Parses a value of --search: NAME=KIND:LOW:HIGH with the KIND log, int or float, or NAME=choice:VALUE,..."""
    name, rest = _split(text, "--search", "for example lr=log:1e-4:1e-2 or cell=choice:lstm,gru")
    argument = f"--search {text}"
    kind, _, values = rest.partition(":")
    if kind not in KINDS:
        raise UsageError(f"{argument}: {kind!r} is not one of {', '.join(KINDS)}")
    allowed = NUMERIC_KINDS.get(_value_type(name), ("choice",))
    if kind not in allowed:
        raise UsageError(f"{argument}: {flag(name)} can only be searched with {', '.join(allowed)}")
    if kind == "choice":
        return _parse_choices(name, values, argument)
    low_text, colon, high_text = values.partition(":")
    if not colon:
        raise UsageError(f"{argument}: not of the form NAME={kind}:LOW:HIGH")
    low = _parse_value(name, low_text, argument)
    high = _parse_value(name, high_text, argument)
    if low >= high:
        raise UsageError(f"{argument}: {low_text} is not less than {high_text}")
    if kind == "log" and low <= 0:
        raise UsageError(f"{argument}: a logarithmic range must start above 0")
    return Dimension(name, kind, low, high)


def _split(text: str, option: str, example: str) -> tuple[str, str]:
    """The name of an option of `charrnn train`, and the text after the equals sign."""
    name, equals, rest = text.partition("=")
    if not equals:
        raise UsageError(f"{option} {text}: not of the form NAME=...", example)
    name = name.strip().removeprefix("--").replace("-", "_")
    name = ALIASES.get(name, name)
    if name not in OPTION_CLASSES:
        raise UsageError(f"{option} {text}: charrnn train has no option {flag(name)}")
    return name, rest


def _parse_choices(name: str, text: str, argument: str) -> Dimension:
    choices = tuple(_parse_value(name, value, argument) for value in text.split(","))
    if len(set(choices)) < len(choices):
        raise UsageError(f"{argument}: a value is given twice")
    return Dimension(name, "choice", choices=choices)


def _parse_value(name: str, text: str, argument: str) -> Any:
    """A value of the option's type. Raises UsageError if it is out of range."""
    text = text.strip()
    value_type = _value_type(name)
    value: Value
    try:
        value = {"true": True, "false": False}[text] if value_type is bool else value_type(text)
    except (ValueError, KeyError):
        expected = {bool: "true or false", int: "a whole number", float: "a number"}[value_type]
        raise UsageError(f"{argument}: {text!r} is not {expected}") from None
    OPTION_CLASSES[name].from_dict(to_options({name: value}))
    return value


@functools.cache
def _option_type(name: str) -> Any:
    """The annotated type of an option without None: int for `int | None`."""
    hint = field_types(OPTION_CLASSES[name])[name]
    members = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return next(member for member in members if member is not types.NoneType)


def _takes_list(name: str) -> bool:
    return typing.get_origin(_option_type(name)) is list


def _value_type(name: str) -> type:
    """The type of an option's value, or of the elements of its list."""
    option_type = _option_type(name)
    value_type: type = typing.get_args(option_type)[0] if _takes_list(name) else option_type
    return value_type
