"""A trained model as HTML for a notebook: its sizes, its losses, and the curve of the losses."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from charrnn.errors import CharRNNError, printable
from charrnn.runs.checkpoint import Checkpoint
from charrnn.runs.directory import Run
from charrnn.runs.reports import read_metrics, read_result

WIDTH = 420  # pixels of the curve
HEIGHT = 130
MARGIN = 10  # around the curve
LABEL_HEIGHT = 16
TRAIN_COLOUR = "#8a8a8a"  # both colours are readable on white and on black
VAL_COLOUR = "#d9622b"

Row = dict[str, Any]


def model_html(task: str, checkpoint: Checkpoint) -> str:
    """The HTML of a model. If the checkpoint is in a run directory, it has the losses and their curve."""
    architecture = checkpoint.architecture
    run = Run(checkpoint.path.parent)
    facts = {
        "file": str(checkpoint.path),
        "task": task,
        "network": f"{architecture.cell}, {architecture.num_layers} x {architecture.hidden_size}",
        "parameters": f"{architecture.num_parameters:,}",
        "inputs, outputs": f"{architecture.input_size:,}, {architecture.output_size:,}",
    }
    evaluations: list[Row] = []
    if checkpoint.path in (run.best, run.last):
        try:
            evaluations = list(read_metrics(run.metrics))
            facts |= _loss_facts(evaluations, run)
        except CharRNNError as error:  # damaged files do not prevent the model from being shown
            facts["run"] = str(error)
    left = 'style="text-align: left"'
    cells = "".join(
        f"<tr><th {left}>{name}</th><td {left}>{html.escape(printable(text))}</td></tr>" for name, text in facts.items()
    )
    return f"<table>{cells}</table>{loss_curve(evaluations)}"


def _loss_facts(evaluations: Sequence[Row], run: Run) -> dict[str, str]:
    facts = {}
    validated = [row for row in evaluations if row["val_loss"] is not None]
    if validated:
        best = min(validated, key=lambda row: float(row["val_loss"]))
        facts["best validation loss"] = f"{best['val_loss']:.4f} at step {best['step']:,}"
    if run.result.exists():
        result = read_result(run.result)
        facts["steps"] = f"{result['steps']:,} in {result['seconds']:,.0f} s"
        if result["test_loss"] is not None:
            facts["test loss"] = f"{result['test_loss']:.4f}"
    return facts


def loss_curve(evaluations: Sequence[Row]) -> str:
    """The losses against the steps as SVG: the training loss dashed, the validation loss solid.

    Returns "" for fewer than two evaluations.
    """
    curves = {
        name: [(row["step"], row[f"{name}_loss"]) for row in evaluations if row[f"{name}_loss"] is not None]
        for name in ("train", "val")
    }
    points = [point for curve in curves.values() for point in curve]
    losses = [loss for _, loss in points]
    if len(evaluations) < 2 or not points:
        return ""
    low, high = min(losses), max(losses)
    last_step = evaluations[-1]["step"] or 1

    def place(step: float, loss: float) -> str:
        x = MARGIN + (WIDTH - 2 * MARGIN) * step / last_step
        y = MARGIN + (HEIGHT - 2 * MARGIN) * ((high - loss) / (high - low) if high > low else 0.5)
        return f"{x:.1f},{y:.1f}"

    lines = "".join(
        f'<polyline points="{" ".join(place(*point) for point in curve)}" fill="none" stroke="{colour}" '
        f'stroke-width="1.5"{dashes}/>'
        for curve, colour, dashes in (
            (curves["train"], TRAIN_COLOUR, ' stroke-dasharray="4 3"'),
            (curves["val"], VAL_COLOUR, ""),
        )
        if curve
    )
    baseline = HEIGHT + LABEL_HEIGHT - 4
    shown = "validation (solid) and training loss (dashed)" if curves["val"] else "training loss"
    label = f"{shown}, {low:.3f} to {high:.3f}, {last_step:,} steps"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT + LABEL_HEIGHT}" role="img" '
        f'aria-label="{label}"><rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" fill="none" '
        f'stroke="currentColor" stroke-opacity="0.3"/>{lines}'
        f'<text x="0" y="{baseline}" font-size="11" fill="currentColor" opacity="0.75">{label}</text></svg>'
    )
