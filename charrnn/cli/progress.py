"""The progress of training on stderr: a bar on a terminal, otherwise a line for each evaluation."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any, Self

from charrnn.cli.terminal import Bar, format_duration
from charrnn.errors import format_count
from charrnn.system import shell_quote
from charrnn.tasks.language.cache import reporting
from charrnn.tasks.registry import model_class
from charrnn.training.events import Done, Evaluated, Event, Sampled, Step, Validating
from charrnn.training.trainer import Trainer

LOSS_SMOOTHING = 0.98  # decay of the running mean of the loss that the bar shows
MAX_COLUMNS = 3  # columns of a series whose errors are shown
UNITS_NOTE = "losses are in nats per character; bpc is bits per character, 1 nat = 1.44 bits"


@contextlib.contextmanager
def reading_bar(*, quiet: bool = False) -> Iterator[None]:
    """Context manager that shows a bar on a terminal while a large corpus is read."""
    bar = Bar(quiet=quiet)

    def show(share: float, symbols: int) -> None:
        if not bar.is_drawn:
            bar.open(total=1.0)
        bar.move(share, f"reading the corpus: {symbols / 1e6:,.0f} million characters")

    try:
        with reporting(show):
            yield
    finally:
        bar.close()


def describe_run(trainer: Trainer) -> list[str]:
    """Describes a run before it starts: its directory, budget, data, model and training options, one per line."""
    model = trainer.config.model
    train = trainer.train
    state = trainer.state
    budget = [] if train.max_minutes is None else [format_count(train.max_minutes, "minute")]
    budget += [] if trainer.budget.steps is None else [format_count(trainer.budget.steps, "step")]
    generates_text = _generates_text(trainer)
    length = format_count(train.seq_length, "character" if generates_text else "step")
    streams = f"{format_count(train.batch_size, 'stream')} x {length}"
    machine = format_count(train.workers, "worker")
    if train.device != "cpu":
        machine = f"PyTorch on {'the CPU' if train.device == 'torch' else train.device}"
    parameters = f"{trainer.architecture.num_parameters:,} parameters"
    ngram_specs = [spec for spec in trainer.architecture.specs() if spec.name.startswith("ngrams.")]
    num_ngram_weights = sum(math.prod(spec.shape) for spec in ngram_specs)
    ngrams = f", {num_ngram_weights:,} of them for n-grams" if num_ngram_weights else ""
    lines = [
        f"run: {trainer.run_directory.path}, for at most {' or '.join(budget)}",
        *trainer.notices,
        trainer.task.describe(),
        f"model: {model.cell}, {model.num_layers} x {model.hidden_size}, {parameters}{ngrams}",
        f"training: {streams}, {machine}, learning rate {train.learning_rate:g}, "
        f"dropout {train.dropout:g} (recurrent: {train.recurrent_dropout:g})",
    ]
    if state.step:
        resumed = f"resumed after {format_count(state.step, 'step')} in {format_duration(state.seconds)}"
        if trainer.is_spent:
            run = shell_quote(str(trainer.run_directory.path))
            resumed += f"; the budget is used up; to continue: charrnn train --resume {run} --max-minutes N"
        lines.append(resumed)
    if generates_text:
        lines.append(UNITS_NOTE)
    return lines


def evaluation_line(metrics: dict[str, Any]) -> str:
    """A line of metrics.jsonl as text."""
    train_loss = "-" if metrics["train_loss"] is None else f"{metrics['train_loss']:.4f}"
    val = "" if metrics["val_loss"] is None else f"  val {metrics['val_loss']:.4f}{_score_note(metrics)}"
    speed = f"{format_duration(metrics['seconds'])}  {metrics['chars_per_second'] / 1000:.1f}k/s"
    return f"step {metrics['step']:,}  epoch {metrics['epoch']:.2f}  train {train_loss}{val}  {speed}"


def _score_note(metrics: dict[str, Any]) -> str:
    """The most informative score of a validation, in addition to its loss."""
    if metrics["val_accuracy"] is not None:
        return f" (accuracy {metrics['val_accuracy']:.2%})"
    if metrics["val_rmse"] is not None:
        errors = list(metrics["val_rmse"].values())[:MAX_COLUMNS]
        return f" (rmse {', '.join(f'{error:.4g}' for error in errors)})"
    return "" if metrics["val_bpc"] is None else f" ({metrics['val_bpc']:.3f} bpc)"


def _generates_text(trainer: Trainer) -> bool:
    """Whether the trained model can continue any text."""
    return hasattr(model_class(trainer.config.data.task), "sample_many")


class TrainingDisplay:
    """Shows the events of a run on stderr."""

    def __init__(self, trainer: Trainer, *, quiet: bool) -> None:
        self.trainer = trainer
        self.bar = Bar(quiet=quiet)
        self.mean_loss = math.nan  # running mean of the losses of the steps
        self.val_text = ""

    def __enter__(self) -> Self:
        for line in describe_run(self.trainer):
            self.bar.print_wrapped(line)
        self.bar.open(total=1.0)
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def show(self, event: Event) -> dict[str, Any] | None:
        """Shows an event. Returns the result of the run if it is the last event."""
        match event:
            case Step() if self.bar.is_drawn:
                self._move_bar(event)
            case Validating(share) if self.bar.is_drawn:
                self.bar.move(self.bar.position, f"validation: {share:.0%}")
            case Evaluated(metrics):
                if metrics["val_loss"] is not None:
                    self.val_text = f" val {metrics['val_loss']:.3f}"
                self.bar.print(evaluation_line(metrics))
            case Sampled(text) if self.trainer.train.sample_every:
                self.bar.print(f"--- sample ---\n{text}\n--------------")
            case Done(result):
                if result["status"] in ("completed", "early_stopped"):
                    for line in self._describe_end(result):
                        self.bar.print(line)
                return result
        return None

    def _move_bar(self, step: Step) -> None:
        if math.isnan(self.mean_loss):
            self.mean_loss = step.loss
        self.mean_loss = LOSS_SMOOTHING * self.mean_loss + (1 - LOSS_SMOOTHING) * step.loss
        bpc = f" ({self.mean_loss / math.log(2):.2f} bpc)" if _generates_text(self.trainer) else ""
        speed = f"{step.chars_per_second / 1000:.1f}k char/s"
        text = f"loss {self.mean_loss:.3f}{bpc}{self.val_text} {speed}, {format_duration(step.seconds_left)} left"
        self.bar.move(step.progress, text)

    def _describe_end(self, result: dict[str, Any]) -> list[str]:
        reason = "stopped early" if result["status"] == "early_stopped" else "completed"
        summary = f"{reason}: {format_count(result['steps'], 'step')} in {format_duration(result['seconds'])}"
        if result["best_val_loss"] is not None:
            summary += f", best validation loss {result['best_val_loss']:.4f} at step {result['best_step']:,}"
        if result["test_loss"] is not None:
            summary += f", test loss {result['test_loss']:.4f}"
        return [summary, f"to use the model: {self._usage_command(shell_quote(result['run']))}"]

    def _usage_command(self, run: str) -> str:
        """A command that uses the trained model."""
        data = self.trainer.config.data
        cls = model_class(data.task)
        if hasattr(cls, "sample_many"):
            return f"charrnn sample --run {run}"
        if hasattr(cls, "write") and data.features is not None:
            return f"charrnn sample --run {run} --features {shell_quote(data.features)}"
        return f"charrnn predict FILE --run {run}"
