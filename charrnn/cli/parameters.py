"""Declares the parameters of commands to Typer, from function signatures and option classes, and reads TOML files."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import functools
import inspect
import tomllib
import types
import typing
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from charrnn.errors import UsageError
from charrnn.fields import CheckedFields, field_types, flag
from charrnn.options import ALIASES, DataOptions, ModelOptions, SamplingOptions, TrainingOptions

Command = TypeVar("Command", bound=Callable[..., Any])

PANELS = {
    ModelOptions: "Model",
    DataOptions: "Data",
    TrainingOptions: "Training",
    SamplingOptions: "Sampling",
}
OUTPUT_PANEL = "Output"
OUTPUT_OPTIONS = ("eval_every", "save_every", "sample_every")
NUMBERS = {int: "a whole number", float: "a number"}
MIN_SIMILARITY = 0.7  # of a suggested name to an unknown one; see difflib
MAX_CONFIG_SIZE = 1 << 20  # bytes of a TOML file


@dataclass(frozen=True)
class Parameter:
    """A parameter of a command, read from the signature of its function.

    Typer gets all values as text. They are converted and checked here, so that the messages name the value and do not
    depend on the version of Typer.
    """

    name: str
    type: type  # of one value
    is_list: bool  # whether it can be given several times
    default: Any
    info: Any  # the arguments of typer.Option or typer.Argument

    @property
    def is_argument(self) -> bool:
        return isinstance(self.info, typer.models.ArgumentInfo)

    @property
    def is_required(self) -> bool:
        return self.default is inspect.Parameter.empty

    @property
    def flags(self) -> tuple[str, ...]:
        """The names on the command line, such as ("--length", "-n"). Empty for a positional argument."""
        if self.is_argument:
            return ()
        # typer.Option("--length", "-n") stores its first name as `default`.
        names = [self.info.default] if isinstance(self.info.default, str) else []
        # "--attention/--no-attention" declares a flag and its opposite.
        names = [name.partition("/")[0] for name in (*names, *(self.info.param_decls or ()))]
        return tuple(names) or (flag(self.name),)

    @property
    def config_names(self) -> list[str]:
        """The names in a TOML file."""
        long = [name.removeprefix("--").replace("-", "_") for name in self.flags if name.startswith("--")]
        return long or [self.name]

    @property
    def value_name(self) -> str:
        """The placeholder for a value in help texts, such as <int>; empty for a flag without a value."""
        if self.info.metavar or self.is_argument:
            return str(self.info.metavar or self.name.upper())
        return "" if self.type is bool else f"<{self.type.__name__.lower()}>"

    @property
    def default_text(self) -> str:
        if isinstance(self.info.show_default, str):
            return self.info.show_default
        is_hidden = not self.info.show_default or self.default is None or self.is_required or self.type is bool
        return "" if is_hidden else str(self.default)

    def for_typer(self) -> inspect.Parameter:
        """The declaration that Typer gets. Its help text contains the default."""
        info = copy.copy(self.info)
        if self.default_text:
            info.help = f"{info.help} [dim]\\[default: {self.default_text}][/dim]"
        info.show_default = False
        info.metavar = self.value_name
        info.min = None
        info.max = None
        hint: Any = bool if self.type is bool else list[str] if self.is_list else str
        default = self.default
        if not self.is_required and self.type is not bool:
            hint = hint | None
            default = None
        return inspect.Parameter(
            self.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[hint, info]
        )

    def convert(self, value: Any) -> Any:
        """Converts a value that Typer passes to the value that the command's function expects. Raises UsageError."""
        if value is None or value == []:
            return self.default
        if self.is_list:
            return [self._convert_one(text) for text in value]
        return value if self.type is bool else self._convert_one(value)

    def _convert_one(self, text: str) -> Any:
        name = self.flags[0] if self.flags else self.name.upper()
        try:
            value = self.type(text)
        except ValueError:
            raise UsageError(f"{name} {text}: must be {NUMBERS[self.type]}") from None
        if self.info.min is not None and value < self.info.min:
            raise UsageError(f"{name} {value}: must be at least {self.info.min}")
        if self.info.max is not None and value > self.info.max:
            raise UsageError(f"{name} {value}: must be at most {self.info.max}")
        return value

    def from_toml(self, value: Any) -> Any:
        """Converts a value in a TOML file to a value as Typer reads it from the command line. Raises UsageError."""
        expected = ""
        if self.type is bool:
            expected = "" if isinstance(value, bool) else "true or false"
        elif isinstance(value, bool | dict) or (isinstance(value, list) and not self.is_list):
            expected = "a list of values" if self.is_list else NUMBERS.get(self.type, "a string")
        if expected:
            raise UsageError(f"{self.config_names[0]} = {value!r}: must be {expected}")
        if self.type is bool:
            return value
        values = value if isinstance(value, list) else [value]
        return [str(each) for each in values] if self.is_list else str(value)


def command_parameters(command: Callable[..., Any]) -> list[Parameter]:
    """The parameters that a command's function declares as Annotated[type, typer.Option(...)]."""
    parameters = []
    for declared in inspect.signature(command, eval_str=True).parameters.values():
        if typing.get_origin(declared.annotation) is Annotated:
            hint, info, *_ = typing.get_args(declared.annotation)
            value_type, is_list = _value_type(hint)
            parameters.append(Parameter(declared.name, value_type, is_list, declared.default, info))
    return parameters


def for_typer(command: Callable[..., None]) -> Callable[..., None]:
    """Returns a function for Typer that converts the values and calls the command's function with them."""
    parameters = command_parameters(command)

    @functools.wraps(command)
    def run(**values: Any) -> None:
        command(**{parameter.name: parameter.convert(values[parameter.name]) for parameter in parameters})

    run.parameters = parameters  # type: ignore[attr-defined]
    return _with_signature(run, [parameter.for_typer() for parameter in parameters])


def with_options(*classes: type[CheckedFields], without: Collection[str] = ()) -> Callable[[Command], Command]:
    """Decorator that adds an option to a command for each field of the classes. The command gets them as **options.

    without: names of fields to leave out. The value of an option that was not given is None.
    """

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        parameters = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        fields = [(cls, spec) for cls in classes for spec in dataclasses.fields(cls)]  # type: ignore[arg-type]
        parameters += [_field_option(cls, spec) for cls, spec in fields if spec.name not in without]
        return _with_signature(command, parameters)

    return decorate


def _with_signature(command: Command, parameters: list[inspect.Parameter]) -> Command:
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def _field_option(cls: type[CheckedFields], spec: dataclasses.Field[Any]) -> inspect.Parameter:
    hint = field_types(cls)[spec.name]
    value_type, is_list = _value_type(hint)
    default = spec.metadata["default_text"] or spec.default
    # A flag that is on by default has an opposite that turns it off.
    name = flag(spec.name) if spec.default is not True else f"{flag(spec.name)}/{flag('no_' + spec.name)}"
    option = typer.Option(
        name,
        *(f"--{alias}" for alias, name in ALIASES.items() if name == spec.name),
        help=spec.metadata["help"],
        show_default=str(default) if default is not None and value_type is not bool else False,
        rich_help_panel=OUTPUT_PANEL if spec.name in OUTPUT_OPTIONS else PANELS[cls],
    )
    annotation = list[value_type] if is_list else value_type  # type: ignore[valid-type]
    return inspect.Parameter(
        spec.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[annotation | None, option]
    )


def _value_type(hint: Any) -> tuple[type, bool]:
    """`int | None` -> (int, False); `list[str] | None` -> (str, True)."""
    if isinstance(hint, types.UnionType):
        hint = next(member for member in typing.get_args(hint) if member is not types.NoneType)
    return (typing.get_args(hint)[0], True) if typing.get_origin(hint) is list else (hint, False)


def read_config(context: typer.Context, path: str | None) -> str | None:
    """The callback of --config: makes the options in a TOML file the defaults of the command. Raises UsageError."""
    if path is not None:
        parameters = context.command.callback.parameters  # type: ignore[union-attr]
        by_name = {name: parameter for parameter in parameters for name in parameter.config_names}
        try:
            context.default_map = _toml_defaults(Path(path), by_name)
        except UsageError as error:
            raise UsageError(f"--config {path}: {error.message}", error.hint) from None
    return path


def _toml_defaults(path: Path, parameters: dict[str, Parameter]) -> dict[str, Any]:
    """Reads a TOML file. Returns the values by parameter name. parameters: the parameters by name in the file."""
    from charrnn.runs.files import read_regular

    try:
        values = tomllib.loads(read_regular(path, MAX_CONFIG_SIZE).decode())
    except OSError as error:
        raise UsageError(str(error.strerror)) from None
    except (ValueError, RecursionError) as error:
        raise UsageError(str(error)) from None
    defaults: dict[str, Any] = {}
    for name, value in values.items():
        if name not in parameters:
            close = difflib.get_close_matches(name, parameters, 1, MIN_SIMILARITY)
            raise UsageError(f"unknown option {name!r}", f"did you mean {close[0]}?" if close else "")
        parameter = parameters[name]
        if parameter.name in defaults:
            raise UsageError(f"{name} is given twice, under two names")
        defaults[parameter.name] = parameter.from_toml(value)
    return defaults
