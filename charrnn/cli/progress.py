"""What a person sees while a run trains: a bar on a terminal, a plain line for each evaluation elsewhere."""

from __future__ import annotations

import contextlib
import math
import shlex
import sys
from typing import Any, Self

from tqdm import tqdm

from charrnn.events import Done, Evaluated, Event, Sampled, Step
from charrnn.params import count
from charrnn.trainer import Trainer


def about(trainer: Trainer) -> list[str]:
    """What is about to be trained, on what, for how long."""
    model, train, corpus = trainer.config.model, trainer.config.train, trainer.corpus
    budget = [f"{train.max_minutes:g} minutes"] if train.max_minutes is not None else []
    budget += [f"{trainer.budget.steps} steps"] if trainer.budget.steps is not None else []
    streams = f"{train.batch_size} streams x {train.seq_length} characters"
    workers = f"{train.workers} worker" + "s" * (train.workers != 1)
    parts = f"{len(corpus.train):,} to train on, {len(corpus.val):,} to validate, {len(corpus.test):,} to test"
    return [
        f"run: {trainer.run_directory.path}, for at most {' or '.join(budget)}",
        *corpus.notices,
        f"corpus: {len(corpus.vocabulary)} distinct characters, {parts}",
        f"model: {model.cell}, {model.num_layers} x {model.hidden_size}, {count(trainer.specs):,} parameters",
        f"training: {streams}, {workers}, learning rate {train.learning_rate:g}, "
        f"dropout {model.dropout:g} (recurrent: {model.recurrent_dropout:g})",
    ]


def evaluation_line(metrics: dict[str, Any]) -> str:
    loss = "-" if metrics["train_loss"] is None else f"{metrics['train_loss']:.4f}"
    val = "" if metrics["val_loss"] is None else f"  val {metrics['val_loss']:.4f} ({metrics['val_bpc']:.3f} bpc)"
    pace = f"{metrics['seconds']:.0f} s  {metrics['chars_per_second']:,.0f} characters/s"
    return f"step {metrics['step']}  epoch {metrics['epoch']:.2f}  train {loss}{val}  {pace}"


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}" if math.isfinite(seconds) else "?"


class Display:
    """Draws a run's events on stderr. A terminal that has gone away does not stop the run."""

    def __init__(self, trainer: Trainer, *, quiet: bool) -> None:
        self.trainer, self.quiet = trainer, quiet
        self.bar: tqdm[Any] | None = None
        self.loss, self.val = math.nan, ""

    def __enter__(self) -> Self:
        if not self.quiet:
            for line in about(self.trainer):
                self._print(line)
            if sys.stderr.isatty():
                self.bar = tqdm(
                    total=1.0, bar_format="{percentage:3.0f}%|{bar}| {desc}", dynamic_ncols=True, file=sys.stderr
                )
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            with contextlib.suppress(OSError, ValueError):
                self.bar.refresh()
                self.bar.close()

    def _print(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            if self.bar is None:
                print(text, file=sys.stderr, flush=True)
            else:
                self.bar.write(text, file=sys.stderr)

    def show(self, event: Event) -> dict[str, Any] | None:
        """Draws an event; the result, when it is the last."""
        if isinstance(event, Step):
            if self.bar is not None:
                self._advance(event)
        elif isinstance(event, Evaluated) and not self.quiet:
            if event.metrics["val_loss"] is not None:
                self.val = f" val {event.metrics['val_loss']:.3f}"
            if self.bar is None:
                self._print(evaluation_line(event.metrics))
        elif isinstance(event, Sampled) and not self.quiet:
            self._print(f"--- sample ---\n{event.text}\n--------------")
        elif isinstance(event, Done):
            if not self.quiet and event.result["status"] != "interrupted":
                self._print(self._ending(event.result))
            return event.result
        return None

    def _advance(self, event: Step) -> None:
        assert self.bar is not None
        self.loss = event.loss if math.isnan(self.loss) else 0.98 * self.loss + 0.02 * event.loss
        bpc = self.loss / math.log(2)
        pace = f"{event.chars_per_second / 1000:.1f}k char/s"
        text = f"loss {self.loss:.3f} ({bpc:.2f} bpc){self.val} {pace}, {clock(event.seconds_left)} left"
        with contextlib.suppress(OSError, ValueError):
            self.bar.set_description_str(text, refresh=False)
            self.bar.update(event.progress - self.bar.n)

    def _ending(self, result: dict[str, Any]) -> str:
        best = result["best_val_loss"]
        validated = f", best validation loss {best:.4f} at step {result['best_step']}" if best is not None else ""
        tested = f", test loss {result['test_loss']:.4f}" if result["test_loss"] is not None else ""
        reason = "stopped early" if result["status"] == "early_stopped" else "done"
        steps = f"{reason}: {result['steps']} steps in {clock(result['seconds'])}{validated}{tested}"
        return f"{steps}\nsample: charrnn sample --run {shlex.quote(result['run'])}"
