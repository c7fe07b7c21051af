"""A language model as one HTML file: the files of this folder, the weights, and a description of the model."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from charrnn import __version__
from charrnn.errors import UsageError, format_count, printable
from charrnn.options import SamplingOptions
from charrnn.runs.directory import Run
from charrnn.runs.files import dump_json
from charrnn.runs.listing import summary
from charrnn.tasks.language.model import TextModel

SCRIPTS = ("engine.js", "text.js", "session.js", "textview.js", "page.js")


def build_page(
    model: TextModel, *, title: str | None = None, float32: bool = False, units: Sequence[Mapping[str, Any]] = ()
) -> str:
    """The HTML of a page that contains the model and loads nothing else.

    title: of the page; by default it names the corpus.
    float32: keep all bits of the weights; otherwise they are rounded to float16.
    units: units that the page offers, each with `probe`, `layer`, `unit` and `correlation`.
    Raises UsageError for weights that are out of the range of float16.
    """
    with np.errstate(over="ignore"):
        weights = model.parameters.astype("<f4" if float32 else "<f2")
    if not np.isfinite(weights).all():
        raise UsageError("a weight is too large for float16", "use --float32")
    script = "\n".join(map(read_file, SCRIPTS))
    style = read_file("page.css")
    texts = _texts(model, float32) | ({} if title is None else {"title": title})
    parts = {
        "script": script,
        "style": style,
        "script_hash": content_hash(script),
        "style_hash": content_hash(style),
        # A < could end the script element that contains the JSON. All other characters are safe there.
        "model": dump_json(_model_values(model, float32, units)).replace("<", "\\u003c"),
        "weights": base64.b64encode(weights.tobytes()).decode(),
        "temperature": str(SamplingOptions().temperature),
        "version": __version__,
        **{name: html.escape(printable(text)) for name, text in texts.items()},
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], read_file("page.html"))


def _model_values(model: TextModel, float32: bool, units: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The description of the model that the scripts read."""
    architecture = model.architecture
    vocabulary = model.vocabulary
    return {
        "cell": architecture.cell,
        "hiddenSize": architecture.hidden_size,
        "numLayers": architecture.num_layers,
        "embeddingSize": architecture.embedding_size,
        "codes": vocabulary.codes.tolist(),
        "bytes": vocabulary.is_bytes,
        "start": vocabulary.start,
        "recordEnd": model.record_end(),
        "shapes": [(spec.name, spec.shape) for spec in architecture.specs()],
        "float32": float32,
        "units": [dict(unit) for unit in units],
    }


def _texts(model: TextModel, float32: bool) -> dict[str, str]:
    """The texts of the page that depend on the model. They name the corpus and the loss if the model is in a run."""
    architecture = model.architecture
    path = model.checkpoint.path
    run = Run(path.parent)
    row = summary(run)
    is_in_run = path in (run.best, run.last) and row["status"] != "broken"
    title = "A neural network that writes text"
    loss = None
    if is_in_run:
        corpus = "” and “".join(Path(name).stem for name in run.read_config().corpus if name != "-")
        if corpus:
            title = f"A neural network that learned to write from “{corpus}”"
        loss = row.get("best_val_loss")
    layers = format_count(architecture.num_layers, "layer")
    facts = [
        f"{architecture.cell.upper()}, {layers} of {format_count(architecture.hidden_size, 'unit')}",
        f"{architecture.num_parameters:,} weights as {'float32' if float32 else 'float16'}",
        *([] if loss is None else [f"validation loss {loss:.3f} nats per character"]),
        f"{run.path.name if is_in_run else path.name}, made with charrnn {__version__}",
    ]
    symbols = "byte values" if model.vocabulary.is_bytes else "characters"
    return {
        "title": title,
        "facts": " · ".join(facts),
        "vocabulary": f"{len(model.vocabulary):,} {symbols}",
    }


def read_file(name: str) -> str:
    return (files("charrnn.web") / name).read_text(encoding="utf-8")


def content_hash(text: str) -> str:
    """The hash of an inline script or style, as a content security policy lists it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
