"""A bench's outcome as SVG, to be understood without the text beside it."""

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from bench.curve import Curve
from bench.report import compared
from bench.result import Result
from bench.run import Spread, ratios, spread
from bench.tabled import Tabled

_OURS, _PEERS, _INK, _FAINT = "#0b7a75", ("#8a5a00", "#5b6b7a", "#9aa5b1"), "#1f2933", "#616e7c"
_STYLE: Any = {
    # Text stays text: small, sharp, and a test can read it.
    "svg.fonttype": "none",
    # The same figures give the same file.
    "svg.hashsalt": "vodray",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_WIDTH_IN = 8.0
# Of a bar's ends and a line's.
_ROOM = 1.25


def draw(outcome: Result | Curve | Tabled) -> str:
    with mpl.rc_context(_STYLE):
        figure = _figure_of(outcome)
        svg = BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Title": outcome.title})
    return svg.getvalue().decode()


def _figure_of(outcome: Result | Curve | Tabled) -> Figure:
    if isinstance(outcome, Result):
        return _bars(outcome)
    return _lines(outcome) if isinstance(outcome, Curve) else _chart(outcome)


def _bars(result: Result) -> Figure:
    """One bar per contender: the median, a line from the fastest to the slowest round, and how
    ours compares."""
    walls = [_wall(result, name) for name in result.titles]
    figure, axes = _figure(
        result.title, f"{result.unit}; shorter is better", 1.4 + 0.62 * len(walls), result.facts
    )
    longest = max(wall.max for wall in walls)
    for row, (name, title) in enumerate(result.titles.items()):
        wall, is_ours = walls[row], name == result.subject
        axes.barh(row, wall.median, height=0.36, color=_OURS if is_ours else _PEERS[-1], gid=name)
        axes.plot([wall.min, wall.max], [row, row], color=_INK, linewidth=1.5)
        weight = "bold" if is_ours else "normal"
        axes.text(0, row - 0.27, title, fontsize=9.5, color=_INK, fontweight=weight)
        axes.text(
            wall.max + longest * 0.01, row, f"{wall.median:.1f} s", va="center", fontweight="bold"
        )
        if not is_ours:
            said = compared(ratios(result.samples, result.subject, name))
            axes.text(0, row + 0.34, f"{result.subject} is {said}", fontsize=8.5, color=_FAINT)
    axes.set(xlim=(0, longest * _ROOM), ylim=(len(walls) - 0.4, -0.6))
    axes.set_axis_off()
    return figure


def _lines(curve: Curve) -> Figure:
    """One line per contender over the length of stream, both axes logarithmic."""
    first = curve.first
    figure, axes = _figure(curve.title, f"{first.unit}; lower is better", 4.6, first.facts)
    lengths = [point.length_s for point in curve.points]
    for number, name in enumerate([first.subject, *first.peers]):
        walls = [_wall(point.result, name) for point in curve.points]
        color = _OURS if number == 0 else _PEERS[(number - 1) % len(_PEERS)]
        _line(axes, lengths, walls, color, name, f"{name}: {walls[-1].median:.3g} s")
    axes.set(xscale="log", yscale="log", xlabel="length of stream", xticks=lengths)
    axes.set_xlim(lengths[0] * 0.9, lengths[-1] * (lengths[-1] / lengths[0]) ** 0.35 * 1.3)
    axes.set_xticks(lengths, labels=[point.label for point in curve.points])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} s"))
    axes.grid(axis="y", color="#e4e7eb")
    axes.set_axisbelow(True)
    return figure


def _line(
    axes: Axes, x: Sequence[float], walls: Sequence[Spread], color: str, name: str, label: str
) -> None:
    """Its label at its end, no legend to look up."""
    medians = [wall.median for wall in walls]
    axes.plot(x, medians, color=color, marker="o", linewidth=2, gid=name)
    axes.fill_between(
        x, [w.min for w in walls], [w.max for w in walls], color=color, alpha=0.2, linewidth=0
    )
    axes.annotate(
        label, (x[-1], medians[-1]), (8, 0), textcoords="offset points", va="center", color=color,
        fontweight="bold",
    )  # fmt: skip


def _chart(outcome: Tabled) -> Figure:
    chart = outcome.chart()
    figure, axes = _figure(outcome.title, chart.up, 5.2, outcome.facts)
    colors = iter((_OURS, *_PEERS, "#b23a48", "#30638e"))
    for line in chart.lines:
        x, y = zip(*line.points, strict=True)
        color = next(colors)
        axes.plot(
            x, y, "--" if line.is_bound else "-", color=color,
            marker=None if line.is_bound else "o", linewidth=2, gid=line.name, label=line.name,
        )  # fmt: skip
        for label, point in zip(line.labels, line.points, strict=bool(line.labels)):
            axes.annotate(label, point, (6, -12), textcoords="offset points", color=color)
    if chart.is_log_across:
        most = max(x for line in chart.lines for x, _ in line.points)
        ticks = [2**power for power in range(max(1, int(most)).bit_length())]
        axes.set_xscale("log", base=2)
        axes.set_xticks(ticks, labels=[str(tick) for tick in ticks])
    else:
        axes.set_xticks([x for x, _ in chart.lines[0].points])
        axes.set_xlim(left=0)
    if chart.is_log_up:
        axes.set_yscale("log", base=2)
    else:
        axes.set_ylim(0, 1.1 * max(y for line in chart.lines for _, y in line.points))
    axes.set_xlabel(chart.across)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: chart.unit.format(value)))
    axes.grid(axis="y", color="#e4e7eb")
    axes.set_axisbelow(True)
    axes.legend(loc="best", frameon=False)
    return figure


def _figure(title: str, what: str, height_in: float, facts: dict[str, Any]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
    figure.suptitle(title, x=0.005, ha="left", fontweight="bold", fontsize=12, color=_INK)
    axes = figure.add_subplot()
    axes.set_title(what, loc="left", fontsize=9.5, color=_FAINT)
    machine = f"{facts['cpu']}, {facts['cores']} cores, all servers on it"
    figure.supxlabel(
        f"{machine}; commit {facts['commit']}", x=0.005, ha="left", fontsize=8, color=_FAINT
    )
    return figure, axes


def _wall(result: Result, name: str) -> Spread:
    return spread(result.samples, name, lambda sample: sample.wall_s)
