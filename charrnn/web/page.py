"""A language model as one web page: the files of `web/`, the weights and what the page must know, put together."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from charrnn import __version__
from charrnn.errors import UsageError, printable
from charrnn.nn.parameters import flatten
from charrnn.options import SamplingOptions
from charrnn.runs.directory import Run
from charrnn.runs.listing import summary
from charrnn.tasks.language.model import TextModel

SCRIPTS = ("engine.js", "text.js", "session.js", "paper.js", "page.js")


def page(model: TextModel, *, float32: bool = False, units: Sequence[Mapping[str, Any]] = ()) -> str:
    """The HTML of a page that holds the model and needs nothing else.

    float32: all bits of the weights, else float16. units: what units have learnt, for the page to offer, each with
    `probe` (its name), `layer`, `unit` and `correlation`. Raises UsageError for weights that float16 cannot hold.
    """
    architecture, vocabulary, specs = model.architecture, model.vocabulary, model.architecture.specs()
    with np.errstate(over="ignore"):
        weights = flatten(specs, model.checkpoint.weights).astype("<f4" if float32 else "<f2")
    if not np.isfinite(weights).all():
        raise UsageError("a weight is too large for float16", "use --float32")
    words = {
        "cell": architecture.cell,
        "hidden": architecture.hidden_size,
        "layers": architecture.num_layers,
        "embedding": architecture.embedding_size,
        "symbols": len(vocabulary),
        "codes": vocabulary.codes.tolist(),
        "bytes": vocabulary.is_bytes,
        "start": vocabulary.start,
        "lines": model.lines,
        "shapes": [(spec.name, spec.shape) for spec in specs],
        "float32": float32,
        "units": [dict(unit) for unit in units],
    }
    script, style = "\n".join(map(_read, SCRIPTS)), _read("page.css")
    parts = {
        "script": script,
        "style": style,
        "script_hash": _hash(script),
        "style_hash": _hash(style),
        # Only a < could end the script element that it stands in; what is not ASCII is escaped anyhow.
        "model": json.dumps(words).replace("<", "\\u003c"),
        "weights": base64.b64encode(weights.tobytes()).decode(),
        "temperature": str(SamplingOptions().temperature),
        "version": __version__,
        **{name: html.escape(printable(text)) for name, text in _about(model, float32).items()},
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _read("page.html"))


def _about(model: TextModel, float32: bool) -> dict[str, str]:
    """What the page says of the model in words."""
    architecture, path = model.architecture, model.checkpoint.path
    run = Run(path.parent)
    known = summary(run)  # nothing, where the checkpoint was copied elsewhere
    is_run = path in (run.best, run.last) and known["status"] != "broken"
    corpus = "” and “".join(Path(name).stem for name in run.read_config().corpus if name != "-") if is_run else ""
    loss, layers = known.get("best_val_loss") if is_run else None, architecture.num_layers
    facts = [
        f"{architecture.cell.upper()}, {layers} layer{'s' * (layers > 1)} of {architecture.hidden_size} units",
        f"{architecture.parameters:,} weights as {'float32' if float32 else 'float16'}",
        *([f"{loss:.3f} nats a character on text it had not seen"] if loss is not None else []),
        f"{run.path.name if is_run else path.name}, made with charrnn {__version__}",
    ]
    return {
        "title": "A neural network that " + (f"learnt to write by reading “{corpus}”" if corpus else "writes"),
        "symbols": f"{len(model.vocabulary):,} {'byte values' if model.vocabulary.is_bytes else 'characters'}",
        "facts": " · ".join(facts),
    }


def _read(name: str) -> str:
    return (files("charrnn.web") / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Of an inline script or style, as a content security policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
