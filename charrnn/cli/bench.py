"""charrnn bench: the speed of a configuration on this machine."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.arguments import Json, given_options, needs_extra
from charrnn.cli.parameters import with_options
from charrnn.cli.terminal import print_json, print_table
from charrnn.errors import UsageError
from charrnn.fields import flag
from charrnn.options import DataOptions, ModelOptions, RunConfig, TrainingOptions

if TYPE_CHECKING:
    from charrnn.tasks.base import Task

UNUSED = (  # options that do not change the speed of a training step
    *("learning_rate", "schedule", "warmup_steps", "max_epochs", "max_steps", "max_minutes", "patience", "keep_best"),
    *("eval_every", "save_every", "sample_every", "val_fraction", "test_fraction", "val_file", "val_limit"),
)
DATA_OPTIONS = {spec.name for spec in dataclasses.fields(DataOptions)}

Corpus = Annotated[list[str] | None, typer.Argument(help="Files as for train.", show_default="a random text")]
Phases = Annotated[bool, typer.Option("--phases", help="Show the time of each phase of a run.")]
Seconds = Annotated[float, typer.Option(min=0.1, max=3600, help="Duration of the measurement.")]


@with_options(ModelOptions, DataOptions, TrainingOptions, without=UNUSED)
def bench(
    corpus: Corpus = None, seconds: Seconds = 6.0, phases: Phases = False, json_output: Json = False, **options: Any
) -> None:
    """Time training and sampling on this machine.

    [bold]Examples[/bold]

      charrnn bench
      charrnn bench --cell gru --hidden-size 512 --num-layers 2 --batch-size 64 --seq-length 128 --json
      charrnn bench words.tsv --task translate
      charrnn bench --phases --dropout 0.1

    Without files, a random text with 65 different symbols is used. Dropout is off by default.

    gflops: the speed of training, with 6 floating-point operations per character and parameter in a matrix product.
    sgemm_gflops: the speed of a large float32 matrix product on the same number of cores, measured alternately with
    training. fraction_of_peak: gflops / sgemm_gflops.

    --phases shows the duration of each phase of a 5-minute run and its share of the total time. With --json, it prints
    {"phases": [...]}, with the fields name, seconds (each time) and times.
    """
    from charrnn.cli.progress import reading_bar
    from charrnn.tasks.registry import read_task
    from charrnn.training.bench import measure, random_text

    given = given_options(options)
    data_options = [name for name in given if name in DATA_OPTIONS]
    if data_options and not corpus:
        raise UsageError(f"{flag(data_options[0])} needs a corpus")
    config = RunConfig.from_options(corpus or [], {"dropout": 0.0, "recurrent_dropout": 0.0} | given)
    with reading_bar():
        task = read_task(config) if corpus else random_text(config.train.seed)
    if phases:
        if config.train.device != "cpu":
            raise UsageError(f"--phases needs --device cpu, not {config.train.device}")
        _print_phases(task, config, seconds, json_output=json_output)
        return
    with needs_extra("torch", "torch"):
        result, resolved = measure(task, config.model, config.train, seconds)
    if json_output:
        print_json(result | {"config": resolved})
        return
    from rich.table import Table

    shape = "{cell} {num_layers} x {hidden_size}, B {batch_size}, T {seq_length}".format(**resolved)
    table = Table("measure", "value", title=shape, title_justify="left")
    for name, value in result.items():
        if value is not None:
            table.add_row(name, f"{value:,.0f}" if value >= 100 or isinstance(value, int) else f"{value:.3g}")
    print_table(table)


def _print_phases(task: Task, config: RunConfig, seconds: float, *, json_output: bool) -> None:
    from charrnn.training.phases import measure_phases

    phases = measure_phases(task, config.model, config.train, seconds)
    if json_output:
        print_json({"phases": [phase._asdict() for phase in phases]})
        return
    from rich.table import Table

    table = Table("phase", "ms each", "times", "share")
    total = sum(phase.seconds * phase.times for phase in phases)
    for phase in phases:
        share = phase.seconds * phase.times / total
        table.add_row(phase.name, f"{phase.seconds * 1000:,.2f}", f"{phase.times:,.0f}", f"{share:.1%}")
    print_table(table)
