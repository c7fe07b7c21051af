"""Figures of losses, sweeps and gradient flow as lines of text for a terminal, with plotext."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from charrnn.analysis.gradients import GradientFlow
from charrnn.plots.curves import LossFigure, engineering, round_ticks, spread
from charrnn.plots.figures import GRADIENT_X_LABEL, GRADIENT_Y_LABEL
from charrnn.plots.trials import Trial, evaluated_trials, option_names, value_medians

BEST_MARKER = "hd"  # plotext's name for its finest block characters
CLIPPED_SYMBOL = "▲"
BEST_SYMBOL = "━"  # represents BEST_MARKER in a label
SYMBOLS = "*o+x#%@&"  # markers of the other curves
NUM_TICKS = 5
MIN_WIDTH = 40
MIN_HEIGHT = 8
BAR_WIDTH = 24


def terminal_curves(losses: LossFigure, width: int, height: int) -> str:
    """The validation losses, or the training losses of a run without validation, with a label at each curve's end."""
    curves = losses.curves[: 1 + len(SYMBOLS)]
    label_width = max(len(curve.label) for curve in curves) + 3 if len(curves) > 1 else 0
    low, high = losses.y_limits
    plot = _new_plot(max(MIN_WIDTH, width - label_width), height)
    longest = max(curve.x[-1] for curve in curves)
    ticks = round_ticks(longest, NUM_TICKS)
    plot.ruler("x").lim(0, longest)
    plot.ruler("x").ticks(ticks, [engineering(tick) for tick in ticks])
    plot.ruler("y").lim(low, high)
    markers = [BEST_MARKER, *SYMBOLS]
    for marker, curve in reversed(list(zip(markers, curves, strict=False))):  # the best on top
        x, y = zip(*curve.points, strict=True)
        plot.draw(plot.signal(list(x), [min(value, high) for value in y], marker=marker).lines())
    for clipped in filter(None, map(losses.clipped_points, curves)):
        plot.draw(plot.signal(clipped, [high] * len(clipped), marker=CLIPPED_SYMBOL))
    lines = _lines(plot)
    title = f"{losses.title}, {losses.y_label}"
    note = [losses.clipping_note] if losses.clipping_note else []
    if len(curves) < len(losses.curves):
        note.append(f"the best {len(curves)} of {len(losses.curves)} runs")
    if not label_width:
        return "\n".join([title, *lines, f"{losses.x_label:>{width}}", *note])
    plot_rows = [n for n, line in enumerate(lines) if "│" in line or "┤" in line]
    last_row = len(plot_rows) - 1
    ends = [(high - curve.points[-1][1]) / (high - low) * last_row for curve in curves]
    rows = spread(ends, 1.0, 0.0, float(last_row))
    for symbol, curve, row in zip([BEST_SYMBOL, *SYMBOLS], curves, rows, strict=False):
        lines[plot_rows[min(last_row, max(0, round(row)))]] += f" {symbol} {curve.label}"
    return "\n".join([title, *lines, losses.x_label, *note])


def terminal_gradient_flows(flows: Sequence[GradientFlow], title: str, width: int, height: int) -> str:
    """The medians of the flows, on a logarithmic axis. Of more than len(SYMBOLS) flows, only the first are drawn."""
    plot = _new_plot(width, height)
    powers_of_ten = [[math.log10(norm) for norm in flow.median if norm > 0] for flow in flows]
    lowest = math.floor(min(map(min, powers_of_ten)))
    x_ticks = round_ticks(max(len(flow.median) for flow in flows) - 1, NUM_TICKS)
    y_ticks = [-tick for tick in round_ticks(-lowest, NUM_TICKS)]
    plot.ruler("x").ticks(x_ticks, [f"{tick:g}" for tick in x_ticks])
    plot.ruler("y").lim(lowest, max(map(max, powers_of_ten)))
    plot.ruler("y").ticks(y_ticks, [f"{10.0**tick:.0e}" for tick in y_ticks])
    for symbol, powers in zip(SYMBOLS, powers_of_ten, strict=False):
        plot.draw(plot.signal(list(range(len(powers))), powers, marker=symbol).lines())
    labels = [f"{symbol} {flow.label}" for symbol, flow in zip(SYMBOLS, flows, strict=False)]
    if len(flows) > len(SYMBOLS):
        labels.append(f"the first {len(SYMBOLS)} of {len(flows)} curves are drawn")
    return "\n".join([f"{title}, {GRADIENT_Y_LABEL}", *_lines(plot), GRADIENT_X_LABEL, *labels])


def terminal_sweep(trials: Sequence[Trial], title: str) -> str:
    """For each option, the median loss of each value, with a bar that starts at a stated loss."""
    trials = evaluated_trials(trials)
    lines = [title]
    for name in option_names(trials):
        medians = value_medians(trials, name)
        losses = [median.loss for median in medians]
        start, stop = bar_range(losses)
        values = [f"{median.value:.6g}" if isinstance(median.value, float) else f"{median.value}" for median in medians]
        value_width = max(map(len, values), default=0)
        lines += ["", f"{name.replace('_', ' ')}: median loss of the trials; the bars start at {start:.6g}"]
        for value, median in zip(values, medians, strict=True):
            bar = "█" * max(1, round(BAR_WIDTH * (median.loss - start) / (stop - start)))
            count = "" if median.num_trials == 1 else f"  ({median.num_trials} trials)"
            lines.append(f"  {value:>{value_width}}  {median.loss:.4f}  {bar}{count}")
    return "\n".join(lines)


def bar_range(losses: Sequence[float]) -> tuple[float, float]:
    """The losses at which the bars start and at which the longest bar ends. The start is a round number.

    For the losses 1.52 and 1.61 the result is (1.5, 1.61).
    """
    lowest = min(losses, default=0.0)
    highest = max(losses, default=0.0)
    if lowest == highest:
        return 0.0, highest or 1.0
    unit = 10.0 ** math.floor(math.log10(highest - lowest))
    start = math.floor(lowest / unit) * unit
    return (start if start < lowest else start - unit), highest


def _new_plot(width: int, height: int) -> Any:
    """Clears and returns plotext's global figure."""
    import plotext

    plot = plotext.figure
    plot.clear()
    plot.theme("colorless")
    plotext.terminal.limit(False, False)
    plot.plot_size(width, max(MIN_HEIGHT, height))
    return plot


def _lines(plot: Any) -> list[str]:
    """The lines of a finished plot, without control codes and trailing spaces."""
    import plotext

    return [line.rstrip() for line in plotext.uncolorize(str(plot.build())).rstrip("\n").split("\n")]
