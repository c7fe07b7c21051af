"""Settings as frozen dataclasses that check themselves: names, types, ranges; to and from plain dictionaries."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from dataclasses import field
from typing import Any, Self

from charrnn.errors import UsageError

WHOLE = 2**63 - 1  # no whole number is beyond


def setting(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    below: float | None = None,
    choices: tuple[str, ...] = (),
    shown: str | None = None,
) -> Any:
    """A dataclass field with its help text and its limits: low <= value <= high, value < below, value in choices."""
    limits = {"low": low, "high": high, "below": below, "choices": choices}
    return field(default=default, metadata={"help": help, "shown": shown, **limits})


class Settings:
    """Base of the settings classes: checks every field, converts to and from plain dictionaries."""

    def __post_init__(self) -> None:
        for spec in dataclasses.fields(self):  # type: ignore[arg-type]
            value, limits = getattr(self, spec.name), spec.metadata
            option = "--" + dashed(spec.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise UsageError(f"{option} {value}: must be a finite number")
            if isinstance(value, int) and abs(value) > WHOLE and not (limits and limits["high"]):
                raise UsageError(f"{option}: a number of {len(str(abs(value)))} digits", f"the largest is {WHOLE}")
            if value is None or not limits:
                continue
            if limits["choices"] and value not in limits["choices"]:
                raise UsageError(f"{option} {value}: not one of {', '.join(limits['choices'])}")
            if isinstance(value, str | bool | list | dict):
                continue
            if limits["low"] is not None and value < limits["low"]:
                raise UsageError(f"{option} {value}: must be at least {limits['low']}")
            if limits["high"] is not None and value > limits["high"]:
                raise UsageError(f"{option} {value}: must be at most {limits['high']}")
            if limits["below"] is not None and value >= limits["below"]:
                raise UsageError(f"{option} {value}: must be less than {limits['below']}")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Strict: unknown names and wrong types raise UsageError, as do values out of range."""
        if not isinstance(values, dict):
            raise UsageError("settings that are no object")
        hints = typing.get_type_hints(cls)
        unknown = sorted(set(values) - set(hints))
        if unknown:
            raise UsageError(f"unknown setting {unknown[0]!r}")
        for name, value in values.items():
            allowed = _types(hints[name])
            if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
                wanted = " or ".join(kind.__name__ for kind in allowed if kind is not types.NoneType)
                raise UsageError(f"setting {name!r} is {value!r}: must be of type {wanted}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)  # type: ignore[call-overload, no-any-return]


def dashed(name: str) -> str:
    """An option's name as it is typed."""
    return name.replace("_", "-")


def _types(hint: Any) -> tuple[type, ...]:
    """The run-time types of an annotation such as `float | None`; an int will do for a float."""
    members = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    kinds = tuple(typing.get_origin(kind) or kind for kind in members)
    return (*kinds, int) if float in kinds else kinds
