"""charrnn bench: how fast a configuration is here."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from charrnn.cli.options import Json, given, with_settings
from charrnn.config import ModelConfig, TrainConfig, part

Seconds = Annotated[float, typer.Option(min=0.1, max=3600, help="How long to measure.")]


@with_settings(ModelConfig, TrainConfig)
def bench(seconds: Seconds = 6.0, json_output: Json = False, **settings: Any) -> None:
    """Time training and sampling of a configuration on this machine. The text is random, of 65 symbols.

    [bold]Examples[/bold]

      charrnn bench
      charrnn bench --cell gru --hidden-size 512 --num-layers 2 --batch-size 64 --seq-length 128 --json

    gflops counts 6 operations for each parameter in a product and character; sgemm_gflops is a large float32 product on
    as many cores, measured in turn with the training; fraction_of_peak is their ratio.
    """
    from charrnn.training.bench import measure

    options = {"dropout": 0.0, "recurrent_dropout": 0.0} | given(settings)
    result, config = measure(part(ModelConfig, options), part(TrainConfig, options), seconds)
    if json_output:
        typer.echo(json.dumps(result | {"config": config}))
        return
    from rich.console import Console
    from rich.table import Table

    shape = "{cell} {num_layers} x {hidden_size}, B {batch_size}, T {seq_length}".format(**config)
    table = Table("measure", "value", title=shape, title_justify="left")
    for name, value in result.items():
        table.add_row(name, f"{value:,.0f}" if value >= 100 or isinstance(value, int) else f"{value:.3g}")
    Console(highlight=False).print(table)
