"""Parameters of commands: from option classes, shared by several commands, and read from TOML files."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import inspect
import os
import shlex
import sys
import tomllib
import types
import typing
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from charrnn.errors import RunError, UsageError
from charrnn.fields import CheckedFields, flag
from charrnn.options import (
    ALIASES,
    DataOptions,
    ModelOptions,
    RunConfig,
    SamplingOptions,
    TrainingOptions,
    check_exclusive,
)

if typing.TYPE_CHECKING:
    from charrnn.tasks.base import TrainedModel
    from charrnn.tasks.language.model import TextModel

Command = TypeVar("Command", bound=Callable[..., Any])

PANELS = {
    ModelOptions: "Model",
    DataOptions: "Data",
    TrainingOptions: "Training",
    SamplingOptions: "Sampling",
}
OUTPUT = "Output"
SOURCE = "Run"
OUTPUT_OPTIONS = ("eval_every", "save_every", "sample_every")
MAX_CONFIG_SIZE = 1 << 20  # bytes of a TOML file
EXCLUSIVE = (  # pairs of options of one command that exclude each other, and the reason if it is not obvious
    ("resume", "run", ""),
    ("resume", "init_from", ""),
    ("run", "model", ""),
    ("copies", "model", "the training text is known for a run only"),
    ("prime", "prime_file", ""),
    ("per_line", "per_char", ""),
    ("unit", "find", ""),
    ("columns", "group_by", ""),
    ("json", "csv", ""),
    ("json", "toml", ""),
)


@dataclass(frozen=True)
class Parameter:
    """A parameter of a command, read from the signature of its function."""

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
        """The names on the command line, such as ("--length", "-n"); none for an argument."""
        if self.is_argument:
            return ()
        # typer.Option("--length", "-n") calls its first name `default`.
        names = [self.info.default] if isinstance(self.info.default, str) else []
        return (*names, *(self.info.param_decls or ())) or (flag(self.name),)

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
        """The parameter as Typer gets it. The help text contains the default; limits are checked here, so that the
        wording does not depend on the version of Typer."""
        info = copy.copy(self.info)
        if self.default_text:
            info.help = f"{info.help} [dim]\\[default: {self.default_text}][/dim]"
        info.show_default = False
        info.metavar = self.value_name
        if info.min is not None or info.max is not None:
            info.callback = _limit_check(self.flags[0], info.min, info.max)
            info.min = None
            info.max = None
        hint: Any = types.GenericAlias(list, self.type) if self.is_list else self.type
        if self.default is None:
            hint = hint | None
        return inspect.Parameter(
            self.name, inspect.Parameter.KEYWORD_ONLY, default=self.default, annotation=Annotated[hint, info]
        )

    def check_config_value(self, value: Any) -> str:
        """What is wrong with a value from a TOML file; empty if nothing is."""
        if isinstance(value, bool) and self.type is not bool:
            return "it needs a value, not true or false"
        if self.type is bool and not isinstance(value, bool):
            return "must be true or false"
        if isinstance(value, float) and self.type is int:
            return "must be a whole number"
        return ""


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
    """The command as Typer gets it; see Parameter.for_typer."""

    @functools.wraps(command)
    def run(**values: Any) -> None:
        command(**values)

    return _with_parameters(run, [parameter.for_typer() for parameter in command_parameters(command)])


def with_options(*classes: type[CheckedFields], without: Collection[str] = ()) -> Callable[[Command], Command]:
    """Adds an option to a command for each field of the classes. They arrive in its **options.

    without: fields to leave out. An option that was not given is None, so that the command can tell.
    """

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        parameters = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        fields = [(cls, spec) for cls in classes for spec in dataclasses.fields(cls)]  # type: ignore[arg-type]
        parameters += [_field_option(cls, spec) for cls, spec in fields if spec.name not in without]
        return _with_parameters(command, parameters)

    return decorate


def _with_parameters(command: Command, parameters: list[inspect.Parameter]) -> Command:
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def _field_option(cls: type[CheckedFields], spec: dataclasses.Field[Any]) -> inspect.Parameter:
    hint = typing.get_type_hints(cls)[spec.name]
    value_type, is_list = _value_type(hint)
    default = spec.metadata["default_text"] or spec.default
    option = typer.Option(
        flag(spec.name),
        *(f"--{alias}" for alias, name in ALIASES.items() if name == spec.name),
        help=spec.metadata["help"],
        show_default=str(default) if default is not None and value_type is not bool else False,
        rich_help_panel=OUTPUT if spec.name in OUTPUT_OPTIONS else PANELS[cls],
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


def _limit_check(option: str, low: float | None, high: float | None) -> Callable[[Any], Any]:
    """A callback for Typer that raises UsageError for a value out of range."""

    def check(value: Any) -> Any:
        if value is not None and low is not None and value < low:
            raise UsageError(f"{option} {value}: must be at least {low}")
        if value is not None and high is not None and value > high:
            raise UsageError(f"{option} {value}: must be at most {high}")
        return value

    return check


def _read_config(context: typer.Context, path: Path | None) -> Path | None:
    """Makes the options in a TOML file the defaults of the command. Raises UsageError."""
    from charrnn.runs.files import read_regular

    if path is None:
        return None
    try:
        values = tomllib.loads(read_regular(path, MAX_CONFIG_SIZE).decode())
    except OSError as error:
        raise UsageError(f"--config {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--config {path}: {error}") from None
    assert context.command.callback
    parameters = {
        name: parameter for parameter in command_parameters(context.command.callback) for name in parameter.config_names
    }
    defaults: dict[str, Any] = {}
    for name, value in values.items():
        if name not in parameters:
            raise UsageError(f"--config {path}: unknown option {name!r}")
        parameter = parameters[name]
        if problem := parameter.check_config_value(value):
            raise UsageError(f"--config {path}: {name} = {value!r}: {problem}")
        if parameter.name in defaults:
            raise UsageError(f"--config {path}: {name} is given twice, under two names")
        defaults[parameter.name] = [value] if parameter.is_list and isinstance(value, str) else value
    context.default_map = defaults
    return path


ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="TOML file of options; the command line overrides it.",
        callback=_read_config,
        is_eager=True,
        show_default=False,
        rich_help_panel=SOURCE,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON to stdout, and nothing else.", rich_help_panel=OUTPUT)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress and no notices.", rich_help_panel=OUTPUT)]
RunOption = Annotated[Path | None, typer.Option("--run", help="The run to use.", show_default="the newest")]
RunArgument = Annotated[
    Path | None,
    typer.Argument(metavar="RUN", help="The run, or its name under runs/.", show_default="the newest"),
]
ModelOption = Annotated[
    Path | None, typer.Option("--model", help="A checkpoint file to use instead of a run.", show_default=False)
]
CheckpointOption = Annotated[
    str | None, typer.Option(help="Which checkpoint of the run to use: best or last.", show_default="best")
]
Device = Annotated[
    str,
    typer.Option(help="Where to compute: cpu (NumPy), torch (PyTorch on the CPU), cuda, cuda:N or mps."),
]
OnUnknown = Annotated[
    str, typer.Option(help="What to do with characters that are not in the vocabulary: error or skip.")
]


def check_pairs(**options: Any) -> None:
    """Raises UsageError if two options were given that exclude each other; see EXCLUSIVE."""
    check_exclusive(options, EXCLUSIVE)


def check_choice(option: str, value: str, *choices: str) -> None:
    """Raises UsageError if the value is not one of the choices."""
    if value not in choices:
        raise UsageError(f"{option} {value}: not one of {', '.join(choices)}")


def given_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, on the command line or in a TOML file."""
    return {name: value for name, value in options.items() if value is not None}


@contextlib.contextmanager
def needs_extra(name: str, library: str) -> Iterator[None]:
    """Raises UsageError if an import inside fails because the library of an extra is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != library:
            raise
        raise UsageError(
            f"{library} (extra {name}) is not installed", f"{shlex.quote(sys.executable)} -m pip install {library}"
        ) from None


def train_command(corpus: Sequence[str], options: dict[str, Any]) -> str:
    """The command line that trains with these options."""
    words = ["charrnn", "train", *corpus]
    for name, value in options.items():
        if value is True:
            words.append(flag(name))
        elif value is not False:
            for element in value if isinstance(value, list) else [value]:
                words += [flag(name), str(element)]
    return shlex.join(words)


def load_model(
    run: Path | None,
    model: Path | None,
    checkpoint: str | None,
    *,
    methods: Collection[str] = (),
    device: str = "cpu",
) -> TrainedModel:
    """The model that --run or --model names. By default it is that of the newest run with one of the methods.

    methods: what the command needs to call, such as `sample_many`. A model that is named may lack them.
    """
    from charrnn.engines.select import new_backend
    from charrnn.runs.directory import Run, find_run, newest_run
    from charrnn.tasks import registry

    def has_method(config: RunConfig) -> bool:
        model_class = registry.model_class(config.data.task)
        return not methods or any(hasattr(model_class, method) for method in methods)

    check_pairs(run=run, model=model)
    if model is not None:
        if checkpoint is not None:
            raise UsageError("--checkpoint needs --run: --model names a checkpoint file")
        if model.is_dir():
            raise RunError(f"{model}: is a directory", "to use a run, give --run")
    check_choice("--checkpoint", checkpoint or "best", "best", "last")
    with needs_extra("torch", "torch"):
        backend = new_backend(device)
    if model is not None:
        return registry.load_model(model, backend=backend)
    path = newest_run(has_method).path if run is None else find_run(run)
    Run(path).check_there()
    return registry.load_model(path, checkpoint=checkpoint or "best", backend=backend)


def load_text_model(run: Path | None, model: Path | None, checkpoint: str | None) -> TextModel:
    """The same for a model that can continue any text. Raises UsageError for other models."""
    return as_text_model(load_model(run, model, checkpoint, methods=["sample_many"]))


def as_text_model(model: TrainedModel) -> TextModel:
    """The model itself. Raises UsageError if it cannot continue any text."""
    from charrnn.tasks.base import GeneratesText

    if not isinstance(model, GeneratesText):
        raise UsageError(f"{model.checkpoint.path}: a model of --task {model.task}", "this command needs --task lm")
    return typing.cast("TextModel", model)


def refuse_run_as_file(file: str) -> None:
    """Raises UsageError if the name of a run is given where a file is needed."""
    from charrnn.runs.directory import find_run

    if not os.path.exists(file) and find_run(Path(file)).is_dir():
        raise UsageError(f"{file}: a run, not a file", f"to use the run, give --run {file}")
