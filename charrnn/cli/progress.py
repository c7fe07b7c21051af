"""What a person sees while a run trains: a bar on a terminal, a plain line for each evaluation elsewhere."""

from __future__ import annotations

import math
import shlex
from typing import Any, Self

from charrnn.cli.terminal import Bar, clock
from charrnn.training.events import Done, Evaluated, Event, Sampled, Step
from charrnn.training.trainer import Trainer


def about(trainer: Trainer) -> list[str]:
    """What is about to be trained, on what, for how long."""
    model, train, standing = trainer.config.model, trainer.config.train, trainer.standing
    budget = [counted(train.max_minutes, "minute")] if train.max_minutes is not None else []
    budget += [counted(trainer.budget.steps, "step")] if trainer.budget.steps is not None else []
    is_text = trainer.config.data.task == "lm"
    streams = f"{train.batch_size} streams x {train.seq_length} {'characters' if is_text else 'steps'}"
    parameters = f"{trainer.architecture.parameters:,} parameters"
    workers = counted(train.workers or 1, "worker")
    if train.device != "cpu":
        workers = f"PyTorch on {'the CPU' if train.device == 'torch' else train.device}"
    run = shlex.quote(str(trainer.run_directory.path))
    lines = [
        f"run: {trainer.run_directory.path}, for at most {' or '.join(budget)}",
        *trainer.notices,
        trainer.task.describe(),
        f"model: {model.cell}, {model.num_layers} x {model.hidden_size}, {parameters}",
        f"training: {streams}, {workers}, learning rate {train.learning_rate:g}, "
        f"dropout {train.dropout:g} (recurrent: {train.recurrent_dropout:g})",
    ]
    if standing.step:
        done = f"{counted(standing.step, 'step')} in {clock(standing.seconds)}"
        more = f", all of its budget; to go on: charrnn train --resume {run} --max-minutes N" if trainer.spent else ""
        lines.append(f"goes on from {done}{more}")
    if is_text:
        lines.append("losses are nats per character; bpc is bits per character, 1 nat = 1.44 bits")
    return lines


def counted(number: float, what: str) -> str:
    """1 minute, 2.5 minutes, 1,500 steps."""
    return f"{number:,.10g} {what}{'' if number == 1 else 's'}"


def evaluation_line(metrics: dict[str, Any]) -> str:
    loss = "-" if metrics["train_loss"] is None else f"{metrics['train_loss']:.4f}"
    val = "" if metrics["val_loss"] is None else f"  val {metrics['val_loss']:.4f}{shown_metrics(metrics)}"
    pace = f"{clock(metrics['seconds'])}  {metrics['chars_per_second'] / 1000:.1f}k/s"
    return f"step {metrics['step']:,}  epoch {metrics['epoch']:.2f}  train {loss}{val}  {pace}"


def shown_metrics(metrics: dict[str, Any]) -> str:
    """What stands behind a validation loss: the most telling of its metrics."""
    if metrics["val_accuracy"] is not None:
        return f" ({metrics['val_accuracy']:.2%} right)"
    if metrics["val_rmse"] is not None:
        return " (rmse " + ", ".join(f"{value:.4g}" for value in list(metrics["val_rmse"].values())[:3]) + ")"
    return f" ({metrics['val_bpc']:.3f} bpc)"


class TrainingDisplay:
    """Draws a run's events on stderr."""

    def __init__(self, trainer: Trainer, *, quiet: bool) -> None:
        self.trainer, self.bar = trainer, Bar(quiet=quiet)
        self.loss, self.val = math.nan, ""
        self.is_text = trainer.config.data.task == "lm"

    def __enter__(self) -> Self:
        for line in about(self.trainer):
            self.bar.words(line)
        self.bar.open(total=1.0)
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def show(self, event: Event) -> dict[str, Any] | None:
        """Draws an event; the result, when it is the last."""
        match event:
            case Step() if self.bar.drawn:
                self._advance(event)
            case Evaluated(metrics):
                if metrics["val_loss"] is not None:
                    self.val = f" val {metrics['val_loss']:.3f}"
                self.bar.line(evaluation_line(metrics))
            case Sampled(text):
                self.bar.line(f"--- sample ---\n{text}\n--------------")
            case Done(result):
                if result["status"] in ("completed", "early_stopped"):
                    self.bar.line(self._ending(result))
                return result
        return None

    def _advance(self, event: Step) -> None:
        self.loss = event.loss if math.isnan(self.loss) else 0.98 * self.loss + 0.02 * event.loss
        bpc = f" ({self.loss / math.log(2):.2f} bpc)" if self.is_text else ""
        pace = f"{event.chars_per_second / 1000:.1f}k char/s"
        text = f"loss {self.loss:.3f}{bpc}{self.val} {pace}, {clock(event.seconds_left)} left"
        self.bar.move(event.progress, text)

    def _ending(self, result: dict[str, Any]) -> str:
        best = result["best_val_loss"]
        validated = f", best validation loss {best:.4f} at step {result['best_step']:,}" if best is not None else ""
        tested = f", test loss {result['test_loss']:.4f}" if result["test_loss"] is not None else ""
        reason = "stopped early" if result["status"] == "early_stopped" else "done"
        steps = f"{reason}: {counted(result['steps'], 'step')} in {clock(result['seconds'])}{validated}{tested}"
        run = shlex.quote(result["run"])
        if not self.is_text:
            return f"{steps}\nuse it: charrnn predict FILE --run {run}"
        features = self.trainer.config.data.features
        vectors = "" if features is None else f" --features {shlex.quote(features)}"
        return f"{steps}\nsample: charrnn sample --run {run}{vectors}"
