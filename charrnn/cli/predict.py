"""charrnn predict: predicts the outputs for new inputs."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.arguments import (
    CheckpointOption,
    Device,
    Json,
    ModelOption,
    OnUnknown,
    Runs,
    given_options,
    load_model,
    refuse_run_as_file,
)
from charrnn.cli.parameters import with_options
from charrnn.errors import CorpusError, UsageError
from charrnn.options import DataOptions, SamplingOptions

if TYPE_CHECKING:
    from charrnn.tasks.base import ForecastsRows, PredictionOptions, PredictsRecords

Input = Annotated[
    str, typer.Argument(help="File with one input per line, or a CSV file, optionally .gz; - is standard input.")
]
Top = Annotated[
    int | None,
    typer.Option(
        min=1, help="classify, translate, transcribe: number of predictions, the most likely first.", show_default="1"
    ),
]
Beam = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=1000,
        help="translate, transcribe: number of hypotheses of the beam search; 1 is greedy.",
        show_default="4",
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=10**7,
        help="series: predict this many rows after the last one. Each predicted row is the next input.",
    ),
]
Seed = Annotated[int | None, typer.Option(min=0, help="Seed of sampled predictions.", show_default="random")]


@with_options(SamplingOptions)
def predict(
    input: Input = "-",
    runs: Runs = None,
    model: ModelOption = None,
    checkpoint: CheckpointOption = None,
    top: Top = None,
    beam: Beam = None,
    seed: Seed = None,
    steps: Steps = None,
    on_unknown: OnUnknown = "error",
    device: Device = "cpu",
    json_output: Json = False,
    **options: Any,
) -> None:
    """Predict the output for each line of a file with a trained model.

    [bold]Examples[/bold]

      charrnn predict new.txt --run runs/books-001
      echo "colour" | charrnn predict --beam 8 --top 3
      charrnn predict words.txt --temperature 0.8 --seed 1
      charrnn predict sunspots.csv --steps 20

    Each prediction is printed as soon as its line has been read. A classifier prints the label and its probability, a
    tagger the tags, a translator the most likely target. With --top, several predictions and their probabilities (log
    probabilities of a translator) are separated by tabs.

    With a sampling option such as --temperature, a translator samples its predictions. For a given --seed, the
    prediction for a line depends only on the line and its number.

    A series model reads a CSV file and prints the predicted columns, one row for each row of the file.
    """
    from charrnn.tasks.base import ForecastsRows, PredictionOptions, PredictsRecords

    refuse_run_as_file(input)
    loaded = load_model(runs or [], model, checkpoint, methods=["predict_records", "predict_table"], device=device)
    prediction = PredictionOptions.from_options(
        top=top, beam=beam, seed=seed, on_unknown=on_unknown, **given_options(options)
    )
    prediction.check_supported(loaded)
    if isinstance(loaded, ForecastsRows):
        _predict_table(loaded, input, steps, json_output=json_output)
        return
    if steps is not None:
        raise UsageError("--steps needs a model of --task series")
    if not isinstance(loaded, PredictsRecords):
        raise UsageError(f"{loaded.checkpoint.path}: trained with --task {loaded.task}", "use charrnn sample")
    _predict_lines(loaded, input, prediction, json_output=json_output)


def _predict_table(model: ForecastsRows, path: str, steps: int | None, *, json_output: bool) -> None:
    """Prints the predicted columns of a CSV file."""
    columns, rows = model.predict_table(path, steps)
    if json_output:
        for row in rows:
            print(json.dumps(dict(zip(columns, row, strict=True))))
        return
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([f"{value:.6g}" if isinstance(value, float) else value for value in row] for row in rows)


def _predict_lines(model: PredictsRecords, path: str, options: PredictionOptions, *, json_output: bool) -> None:
    """Prints a prediction for each line of a file, as soon as the line has been read."""
    from charrnn.corpus.lines import read_available_lines

    for lines in read_available_lines(path, DataOptions.encoding, []):
        for line in lines:
            if "\t" in line.text:
                raise CorpusError(
                    f"{line.place}: the input contains a tab", "give the inputs only: cut -f1 FILE | charrnn predict"
                )
        answers = model.predict_records([line.text for line in lines], options)
        for line, answer in zip(lines, answers, strict=True):
            print(json.dumps({"input": line.text, **answer}) if json_output else _format_answer(answer))
        sys.stdout.flush()
        options = replace(options, first_number=options.first_number + len(lines))


def _format_answer(answer: dict[str, Any]) -> str:
    if "top" in answer:
        return "\t".join(f"{text}\t{value:.4f}" for text, value in answer["top"])
    if "label" in answer:
        return f"{answer['label']}\t{answer['probability']:.4f}"
    return str(answer["tags"] if "tags" in answer else answer["output"])
