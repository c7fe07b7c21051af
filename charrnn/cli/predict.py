"""charrnn predict: what a trained model says of new inputs."""

from __future__ import annotations

import csv
import json
import secrets
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.arguments import (
    CheckpointOption,
    Device,
    Json,
    ModelOption,
    OnUnknown,
    RunOption,
    given,
    load_model,
    on_device,
    one_of,
    refuse_run,
    with_settings,
)
from charrnn.errors import CorpusError, UsageError
from charrnn.options import DataOptions, SamplingOptions, select_options

if TYPE_CHECKING:
    from charrnn.corpus.lines import Line
    from charrnn.tasks.registry import Model

Input = Annotated[str, typer.Argument(help="File of inputs, a line each, .gz too; - is standard input.")]
Top = Annotated[
    int | None, typer.Option(min=1, help="classify, translate: so many answers, the likeliest first.", show_default="1")
]
Beam = Annotated[
    int | None, typer.Option(min=1, max=1000, help="translate: hypotheses kept; 1 is greedy.", show_default="4")
]
Steps = Annotated[
    int | None,
    typer.Option(min=1, max=10**7, help="series: so many rows that follow, each prediction read as the next row."),
]
Seed = Annotated[int | None, typer.Option(min=0, help="Seed of what is drawn.", show_default="a new one")]


@with_settings(SamplingOptions)
def predict(
    input: Input = "-",
    run: RunOption = None,
    model: ModelOption = None,
    checkpoint: CheckpointOption = None,
    top: Top = None,
    beam: Beam = None,
    seed: Seed = None,
    steps: Steps = None,
    on_unknown: OnUnknown = "error",
    device: Device = "cpu",
    json_output: Json = False,
    **settings: Any,
) -> None:
    """What a trained model says of new inputs: a line in, a line out, at once.

    [bold]Examples[/bold]

      charrnn predict new.txt --run runs/books-001
      echo "colour" | charrnn predict --beam 8 --top 3
      charrnn predict words.txt --temperature 0.8 --seed 1
      charrnn predict sunspots.csv --steps 20

    A classifier says label, tab, probability; a tagger the tags; a translator the likeliest target that a beam search
    finds, with --top each with its log probability, and with --temperature or another choice of sample one drawn.
    """
    from charrnn.corpus.lines import lines_as_they_come

    one_of("--on-unknown", on_unknown, "error", "skip")
    choice = given(settings)
    refuse_run(input)
    loaded = on_device(load_model(run, model, checkpoint, lambda config: config.data.task != "lm"), device)
    if loaded.checkpoint.task["name"] == "series":
        if choice or top is not None or beam is not None:
            raise UsageError("--top, --beam and the choices of sample are not for a model of --task series")
        _series(input, loaded, steps, json_output=json_output)
        return
    if steps is not None:
        raise UsageError("--steps goes with a model of --task series")
    skip = on_unknown == "skip"
    answer = _Answers(loaded, top, beam, select_options(SamplingOptions, choice) if choice else None, seed, skip)
    for lines in lines_as_they_come(input, DataOptions(), []):
        for text, row in zip(lines, answer(lines), strict=True):
            typer.echo(json.dumps({"input": text.text, **row}) if json_output else shown(row))


def _series(input: str, model: Any, steps: int | None, *, json_output: bool) -> None:
    """A CSV in, the predicted columns out, a row a row; or the rows that follow."""
    rows = model.rows(model.read(input))
    columns = model.columns.outputs
    answers = model.predict(rows) if steps is None else model.forecast(rows, steps)
    cells = [[label] for label in answers] if model.columns.labels else answers.tolist()
    if json_output:
        for row in cells:
            typer.echo(json.dumps(dict(zip(columns, row, strict=True))))
        return
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([f"{value:.6g}" if isinstance(value, float) else value for value in row] for row in cells)


class _Answers:
    """From lines to answers, each as the fields of its JSON."""

    def __init__(
        self,
        model: Model,
        top: int | None,
        beam: int | None,
        choice: SamplingOptions | None,
        seed: int | None,
        skip: bool,
    ) -> None:
        name = model.checkpoint.task["name"]
        if name == "lm":
            raise UsageError(f"{model.checkpoint.path}: a language model", "use charrnn sample")
        for option, value, tasks in (
            ("--top", top, ("classify", "translate")),
            ("--beam", beam, ("translate",)),
            ("--temperature and the other choices of sample", choice, ("translate",)),
        ):
            if value is not None and name not in tasks:
                raise UsageError(f"{option}: not for a model of --task {name}", f"goes with {', '.join(tasks)}")
        if choice is not None and (beam is not None or top is not None):
            raise UsageError("--beam and --top search for the likeliest; --temperature and its like draw")
        self.model, self.top, self.beam, self.choice, self.skip = model, top, beam, choice, skip
        self.seed = secrets.randbits(32) if seed is None else seed

    def __call__(self, lines: list[Line]) -> list[dict[str, Any]]:
        from charrnn.tasks.classify.model import Classifier
        from charrnn.tasks.tag.model import Tagger
        from charrnn.tasks.translate.model import Translator

        for line in lines:
            if "\t" in line.text:
                raise CorpusError(f"{line.place}: a tab", "the input alone: cut -f1 FILE | charrnn predict")
        texts, skip = [line.text for line in lines], self.skip
        match self.model:
            case Classifier() as model:
                ranked = model.predict(texts, top=self.top or 1, skip_unknown=skip)
                return [{"label": r[0][0], "probability": r[0][1], **self._several(r)} for r in ranked]
            case Tagger() as model:
                return [{"tags": tags} for tags in model.predict(texts, skip_unknown=skip)]
            case Translator() as model if self.choice is not None:
                drawn = model.draw(texts, self.choice, self.seed, skip_unknown=skip)
                self.seed += len(texts)
                return [{"output": output, "log_probability": nats} for output, nats in drawn]
            case Translator() as model:
                found = model.predict(texts, beam=self.beam or 4, top=self.top or 1, skip_unknown=skip)
                return [{"output": r[0][0], "log_probability": r[0][1], **self._several(r)} for r in found]
        raise AssertionError(self.model)

    def _several(self, ranked: list[tuple[str, float]]) -> dict[str, Any]:
        return {} if self.top is None else {"top": ranked}


def shown(row: dict[str, Any]) -> str:
    """An answer as a line."""
    if "top" in row:
        return "\t".join(f"{answer}\t{value:.4f}" for answer, value in row["top"])
    if "label" in row:
        return f"{row['label']}\t{row['probability']:.4f}"
    return str(row["tags"] if "tags" in row else row["output"])
