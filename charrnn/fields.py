"""Dataclass fields with checked types and ranges, and their conversion from and to plain dictionaries."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Callable
from dataclasses import field
from typing import Any, Self

from charrnn.errors import UsageError

LARGEST_INTEGER = 2**63 - 1  # the limit of integer fields that have no limit of their own

# The types of the fields of a class, by name.
field_types: Callable[[type], dict[str, Any]] = functools.cache(typing.get_type_hints)


def checked_field(
    default: Any,
    help: str = "",
    *,
    low: float | None = None,
    high: float | None = None,
    below: float | None = None,
    choices: tuple[str, ...] = (),
    default_text: str | None = None,
) -> Any:
    """A dataclass field with a help text and limits: low <= value <= high, value < below, value in choices.

    default_text: the default as the help shows it, if it is not a fixed value.
    """
    limits = {"low": low, "high": high, "below": below, "choices": choices}
    return field(default=default, metadata={"help": help, "default_text": default_text, **limits})


class CheckedFields:
    """Base of dataclasses whose fields are checked when an object is made."""

    def __post_init__(self) -> None:
        for spec in dataclasses.fields(self):  # type: ignore[arg-type]
            _check_value(flag(spec.name), getattr(self, spec.name), spec.metadata)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Makes an object from the values of its fields.

        Raises UsageError for unknown names, wrong types and values out of range, TypeError if a field is missing.
        """
        if not isinstance(values, dict):
            raise UsageError("expected an object with named values")
        hints = field_types(cls)
        unknown = sorted(set(values) - set(hints))
        if unknown:
            raise UsageError(f"unknown setting {unknown[0]!r}")
        for name, value in values.items():
            allowed = _runtime_types(hints[name])
            if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
                expected = " or ".join(kind.__name__ for kind in allowed if kind is not types.NoneType)
                raise UsageError(f"setting {name!r} is {value!r}: must be of type {expected}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)  # type: ignore[call-overload, no-any-return]


def flag(name: str) -> str:
    """The command-line flag of an option: hidden_size -> --hidden-size."""
    return "--" + name.replace("_", "-")


def _check_value(option: str, value: Any, limits: typing.Mapping[str, Any]) -> None:
    """Raises UsageError for a value out of range."""
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{option} {value}: must be a finite number")
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER and not (limits and limits["high"]):
        digits = len(str(abs(value)))
        raise UsageError(f"{option}: the number has {digits} digits", f"the limit is {LARGEST_INTEGER}")
    if value is None or not limits:
        return
    if limits["choices"] and value not in limits["choices"]:
        raise UsageError(f"{option} {value}: not one of {', '.join(limits['choices'])}")
    if isinstance(value, str | bool | list | dict):
        return
    if limits["low"] is not None and value < limits["low"]:
        raise UsageError(f"{option} {value}: must be at least {limits['low']}")
    if limits["high"] is not None and value > limits["high"]:
        raise UsageError(f"{option} {value}: must be at most {limits['high']}")
    if limits["below"] is not None and value >= limits["below"]:
        raise UsageError(f"{option} {value}: must be less than {limits['below']}")


def _runtime_types(hint: Any) -> tuple[type, ...]:
    """The classes that an annotation such as `float | None` allows. An int is allowed wherever a float is."""
    members = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    kinds = tuple(typing.get_origin(kind) or kind for kind in members)
    return (*kinds, int) if float in kinds else kinds
