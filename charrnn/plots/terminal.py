"""Pictures of losses and gradients in a terminal, with plotext."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from charrnn.analysis.gradients import AXES, Flow
from charrnn.plots.curves import Picture, engineering, round_ticks, spread
from charrnn.plots.figures import medians_of, tried

MARKS = "hd*o+x#%@&"  # of the curves: the best with fine blocks, the others with characters
TICKS = 5
BAR = 24


def terminal_curves(picture: Picture, width: int, height: int) -> str:
    """The validation losses (of a run without them, its training losses), each named at its end, as lines of text."""
    import plotext

    curves = picture.curves[: len(MARKS) - 1]
    named = max(len(curve.label) for curve in curves) + 3 if len(curves) > 1 else 0
    low, high = picture.limits
    plot = plotext.figure
    plot.clear()
    plot.theme("colorless")
    plot.plot_size(max(40, width - named), height)
    longest = max(curve.x[-1] for curve in curves)
    ticks = round_ticks(longest, TICKS)
    plot.ruler("x").lim(0, longest)
    plot.ruler("x").ticks(ticks, [engineering(tick) for tick in ticks])
    plot.ruler("y").lim(low, high)
    marks = [MARKS[0] + MARKS[1], *MARKS[2:]]
    for mark, curve in reversed(list(zip(marks, curves, strict=False))):
        x, y = zip(*curve.shown, strict=True)
        plot.draw(plot.signal(list(x), [min(value, high) for value in y], marker=mark).lines())
    lines = [line.rstrip() for line in plotext.uncolorize(str(plot.build())).rstrip("\n").split("\n")]
    title = f"{picture.title}, {picture.loss}"
    if not named:
        return "\n".join([title, *lines, f"{picture.field:>{width}}"])
    inside = [n for n, line in enumerate(lines) if "│" in line or "┤" in line]
    ends = [(high - curve.shown[-1][1]) / (high - low) * (len(inside) - 1) for curve in curves]
    for mark, curve, row in zip(["━", *MARKS[2:]], curves, spread(ends, 1.0, 0.0, len(inside) - 1.0), strict=False):
        at = inside[min(len(inside) - 1, max(0, round(row)))]
        lines[at] += f" {mark} {curve.label}"
    return "\n".join([title, *lines, picture.field])


def terminal_flows(flows: Sequence[Flow], title: str, width: int, height: int) -> str:
    """The medians, on a logarithmic axis, as lines of text."""
    import plotext

    plot = plotext.figure
    plot.clear()
    plot.theme("colorless")
    plot.plot_size(width, height)
    shown = [(flow, [math.log10(share) for share in flow.median if share > 0]) for flow in flows]
    lowest = math.floor(min(min(powers) for _, powers in shown))
    ticks, steps = [-tick for tick in round_ticks(-lowest, TICKS)], round_ticks(len(flows[0].median) - 1, TICKS)
    plot.ruler("x").ticks(steps, [f"{step:g}" for step in steps])
    plot.ruler("y").lim(lowest, max(max(powers) for _, powers in shown))
    plot.ruler("y").ticks(ticks, [f"{10.0**tick:.0e}" for tick in ticks])
    for mark, (_, powers) in zip(MARKS[2:], shown, strict=False):
        plot.draw(plot.signal(list(range(len(powers))), powers, marker=mark).lines())
    lines = [line.rstrip() for line in plotext.uncolorize(str(plot.build())).rstrip("\n").split("\n")]
    names = [f"{mark} {flow.label}" for mark, flow in zip(MARKS[2:], flows, strict=False)]
    return "\n".join([f"{title}, {AXES[1]}", *lines, AXES[0], *names])


def terminal_sweep(rows: Sequence[dict[str, Any]], title: str) -> str:
    """For each option the median loss of each value that was tried, as lines of text with bars."""
    rows = tried(rows)
    lines = [title]
    for name in dict.fromkeys(name for row in rows for name in row["params"]):
        medians = medians_of(rows, name)
        losses = [median for _, median, _ in medians]
        span = max(losses, default=0.0) - min(losses, default=0.0) or 1.0
        values = [f"{value:.6g}" if isinstance(value, float) else str(value) for value, *_ in medians]
        width = max(map(len, values), default=0)
        lines += ["", f"{name.replace('_', ' ')}: median loss of its trials, the longer the bar the lower"]
        for shown, (_, median, number) in zip(values, medians, strict=True):
            bar = "█" * max(1, round(BAR * (max(losses) - median) / span))
            lines.append(f"  {shown:>{width}}  {median:.4f}  {bar}{'' if number == 1 else f'  ({number} trials)'}")
    return "\n".join(lines)
