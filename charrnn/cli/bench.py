"""charrnn bench: how fast a configuration is here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.arguments import Json, extra, given, with_settings
from charrnn.errors import UsageError
from charrnn.fields import flag
from charrnn.options import DataOptions, ModelOptions, RunConfig, TrainingOptions

if TYPE_CHECKING:
    from charrnn.tasks.base import Task

UNUSED = (  # settings of a training that is never ended, validated or saved
    *("learning_rate", "schedule", "warmup_steps", "max_epochs", "max_steps", "max_minutes", "patience"),
    *("eval_every", "save_every", "sample_every", "val_fraction", "test_fraction", "val_file"),
)
TEXT = frozenset(DataOptions.__dataclass_fields__)

Corpus = Annotated[list[str] | None, typer.Argument(help="Files as for train.", show_default="a random text")]
Phases = Annotated[bool, typer.Option("--phases", help="Show where the time of a run goes.")]
Seconds = Annotated[float, typer.Option(min=0.1, max=3600, help="How long to measure.")]


@with_settings(ModelOptions, DataOptions, TrainingOptions, without=UNUSED)
def bench(
    corpus: Corpus = None, seconds: Seconds = 6.0, phases: Phases = False, json_output: Json = False, **settings: Any
) -> None:
    """Time training and sampling of a configuration on this machine.

    [bold]Examples[/bold]

      charrnn bench
      charrnn bench --cell gru --hidden-size 512 --num-layers 2 --batch-size 64 --seq-length 128 --json
      charrnn bench words.tsv --task translate
      charrnn bench --phases --dropout 0.1

    The random text is of 65 symbols. gflops counts 6 operations for each parameter in a product and character;
    sgemm_gflops is a large float32 product on as many cores, measured in turn with the training; fraction_of_peak is
    their ratio. Dropout is off if not given. --phases: what each phase of a run of 5 minutes takes, and its share.
    """
    from charrnn.tasks.registry import read_task
    from charrnn.training.bench import measure, random_text

    of_text = [name for name in given(settings) if name in TEXT]
    if of_text and not corpus:
        raise UsageError(f"{flag(of_text[0])} goes with a corpus")
    options = {"dropout": 0.0, "recurrent_dropout": 0.0} | given(settings)
    config = RunConfig.from_options(corpus or [], options)
    task = read_task(config) if corpus else random_text(config.train.seed)
    if phases:
        if config.train.device != "cpu":
            raise UsageError("--phases goes with the NumPy engine, not with --device")
        _show_phases(task, config, seconds, json_output=json_output)
        return
    with extra("torch", "torch"):
        result, settled = measure(task, config.model, config.train, seconds)
    if json_output:
        typer.echo(json.dumps(result | {"config": settled}))
        return
    from rich.console import Console
    from rich.table import Table

    shape = "{cell} {num_layers} x {hidden_size}, B {batch_size}, T {seq_length}".format(**settled)
    table = Table("measure", "value", title=shape, title_justify="left")
    for name, value in result.items():
        if value is not None:
            table.add_row(name, f"{value:,.0f}" if value >= 100 or isinstance(value, int) else f"{value:.3g}")
    Console(highlight=False).print(table)


def _show_phases(task: Task, config: RunConfig, seconds: float, *, json_output: bool) -> None:
    """A line for each phase."""
    from charrnn.training.phases import measured_phases

    found = measured_phases(task, config.model, config.train, seconds)
    if json_output:
        typer.echo(json.dumps([phase._asdict() for phase in found]))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("phase", "ms each", "times", "share")
    whole = sum(phase.seconds * phase.times for phase in found)
    for phase in found:
        share = phase.seconds * phase.times / whole
        table.add_row(phase.name, f"{phase.seconds * 1000:,.2f}", f"{phase.times:,.0f}", f"{share:.1%}")
    Console(highlight=False).print(table)
