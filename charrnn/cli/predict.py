"""charrnn predict: predicts the outputs for new inputs."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.arguments import (
    CheckpointOption,
    Columns,
    Device,
    Header,
    Json,
    ModelOption,
    OnUnknown,
    Runs,
    given_options,
    load_model,
    model_option,
    refuse_run_as_file,
)
from charrnn.cli.parameters import with_options
from charrnn.cli.terminal import print_json, print_stderr
from charrnn.corpus.record_files import RecordFormat
from charrnn.errors import CorpusError, UsageError, format_count
from charrnn.options import DataOptions, SamplingOptions

if TYPE_CHECKING:
    from charrnn.corpus.record_files import TextRecord
    from charrnn.tasks.base import ForecastsRows, PredictionOptions, PredictsRecords

MAX_NUMBERS = 10  # line numbers in a message

Input = Annotated[
    str, typer.Argument(help="File with one input per line, or a CSV file, optionally .gz; - is standard input.")
]
Top = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="classify, translate, transcribe: number of predictions, the most likely first.",
        show_default="1",
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
        help="series: predict this many rows after the last known one. Each predicted row is the next input.",
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
    columns: Columns = None,
    header: Header = False,
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

    If the first line is a record with an output, in the training format, the expected outputs are printed after the
    predictions. An input without a known character has an empty answer.

    A series model reads a CSV file and prints the predicted columns, one row for each row of the file. If the target
    is missing in the last rows of the file, the predictions of the rows before are used in its place. --steps prints
    the rows after the last one with a target: without --target, they follow the file; with --target, the file must
    contain their other columns.
    """
    from charrnn.tasks.base import ForecastsRows, PredictionOptions, PredictsRecords

    refuse_run_as_file(input)
    loaded = load_model(runs or [], model, checkpoint, methods=["predict_records", "predict_table"], device=device)
    prediction = PredictionOptions.from_options(
        top=top, beam=beam, seed=seed, on_unknown=on_unknown, **given_options(options)
    )
    prediction.check_supported(loaded)
    record_format = RecordFormat.from_options(columns, header)
    if isinstance(loaded, ForecastsRows):
        if columns is not None or header:
            raise UsageError(f"--columns and --header: not options of a model of --task {loaded.task}")
        _predict_table(loaded, input, steps, json_output=json_output)
        return
    if steps is not None:
        raise UsageError("--steps needs a model of --task series")
    if not isinstance(loaded, PredictsRecords):
        problem = f"{loaded.checkpoint.path}: trained with --task {loaded.task}"
        raise UsageError(problem, f"use charrnn sample {model_option(loaded)}")
    _predict_lines(loaded, input, record_format, prediction, json_output=json_output)


def _predict_table(model: ForecastsRows, path: str, steps: int | None, *, json_output: bool) -> None:
    """Prints the predicted columns of a CSV file."""
    columns, rows = model.predict_table(path, steps)
    if json_output:
        for row in rows:
            print_json(dict(zip(columns, row, strict=True)))
        return
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)


def _predict_lines(
    model: PredictsRecords, path: str, columns: RecordFormat, options: PredictionOptions, *, json_output: bool
) -> None:
    """Prints a prediction for each record of a file, as soon as it has been read.

    If a record cannot be read, the records before it are answered first.
    """
    from charrnn.corpus.lines import read_available_lines
    from charrnn.corpus.reading import TextReader
    from charrnn.corpus.record_files import RecordParser

    notices: list[str] = []
    parser = RecordParser(path, notices, columns, needs_output=False)
    reader = TextReader(DataOptions.encoding)
    summary = SkippedSymbols()
    for lines in read_available_lines(path, reader):
        records = []
        inputs = []
        error = None
        try:
            for record in parser.parse(lines):
                if not options.skip_unknown:
                    record.check_known(model.unknown_symbols(record.text))
                inputs.append(model.read_input(record.text, record.place))
                records.append(record)
        except CorpusError as problem:
            error = problem
        answers = model.predict_records(inputs, options)
        for record, answer in zip(records, answers, strict=True):
            num_skipped = len(model.unknown_symbols(record.text))
            summary.add(record, num_skipped, has_answer=None not in answer.values())
            expected = {"expected": record.output} if record.output else {}
            skipped = {"skipped": num_skipped} if options.skip_unknown else {}
            if json_output:
                print_json({"input": record.text, **expected, **answer, **skipped})
            else:
                print("\t".join([_format_answer(answer), *expected.values()]))
        sys.stdout.flush()
        if error is not None:
            raise error
        options = replace(options, first_number=options.first_number + len(records))
    parser.finish()
    for notice in [*reader.notices(), *notices, *summary.describe()]:
        print_stderr(notice)


class SkippedSymbols:
    """Counts the symbols that were skipped and the inputs that have no answer."""

    def __init__(self) -> None:
        self.num_skipped = 0
        self.num_inputs = 0  # number of inputs with a skipped symbol
        self.unanswered: list[int] = []  # line numbers

    def add(self, record: TextRecord, num_skipped: int, *, has_answer: bool) -> None:
        self.num_skipped += num_skipped
        self.num_inputs += num_skipped > 0
        if not has_answer:
            self.unanswered.append(record.line.number)

    def describe(self) -> Iterator[str]:
        if self.num_skipped:
            yield (
                f"skipped {format_count(self.num_skipped, 'symbol')} outside the vocabulary, "
                f"in {format_count(self.num_inputs, 'input')}"
            )
        if self.unanswered:
            numbers = ", ".join(map(str, self.unanswered[:MAX_NUMBERS]))
            more = ", ..." if len(self.unanswered) > MAX_NUMBERS else ""
            inputs = format_count(len(self.unanswered), "input")
            yield f"no answer for {inputs} without a known symbol: line {numbers}{more}"


def _format_answer(answer: dict[str, Any]) -> str:
    """The fields of an answer, separated by tabs. The fields of an input without an answer are empty."""
    if answer.get("top"):
        return "\t".join(f"{text}\t{value:.4f}" for text, value in answer["top"])
    if "label" in answer:
        return "\t" if answer["label"] is None else f"{answer['label']}\t{answer['probability']:.4f}"
    return str((answer["tags"] if "tags" in answer else answer["output"]) or "")
