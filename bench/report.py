"""A bench's result for people: tables for the terminal."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.compare import Change
from bench.curve import Curve
from bench.result import Figures, Result
from bench.run import Spread, ratios, spread
from bench.tabled import Tabled
from bench.watch import Usage

_MIB = 2**20


def print_outcome(outcome: Result | Curve | Tabled, console: Console) -> None:
    if isinstance(outcome, Result):
        _print_result(outcome, console)
    elif isinstance(outcome, Curve):
        _print_curve(outcome, console)
    else:
        _print_tabled(outcome, console)


def _print_result(result: Result, console: Console) -> None:
    made_of = result.input
    console.print(f"[bold]{result.name}[/]: {result.title}")
    console.print(
        f"{made_of['title']}; {made_of['segments']} segments, {made_of['bytes'] / 1e6:.0f} MB"
    )
    console.print(_machine(result.facts))
    console.print(_contenders(result))
    console.print(_processes(result, f"{result.subject} works"))
    for figures in result.tables:
        console.print(_table(figures))
    for note in result.notes:
        console.print(f"- {note}")


def _print_curve(curve: Curve, console: Console) -> None:
    first = curve.first
    console.print(f"[bold]{curve.name}[/]: {curve.title}")
    console.print(first.input["title"])
    console.print(_machine(first.facts))
    console.print(_lengths(curve))
    longest = curve.points[-1]
    console.print(_processes(longest.result, f"{first.subject} works, {longest.label}"))
    for note in curve.notes:
        console.print(f"- {note}")


def _print_tabled(outcome: Tabled, console: Console) -> None:
    console.print(f"[bold]{outcome.name}[/]: {outcome.title}")
    console.print(outcome.about())
    console.print(_machine(outcome.facts))
    for figures in outcome.figures():
        console.print(_table(figures))
    for note in outcome.notes:
        console.print(f"- {note}")


def _lengths(curve: Curve) -> Table:
    """A row for each length: each contender's time, and how ours compares."""
    first = curve.first
    table = Table(title=f"{first.unit}: median (min..max) of {_rounds(first)} rounds")
    table.add_column("length")
    for name in first.titles:
        table.add_column(name, justify="right")
    for peer in first.peers:
        table.add_column(f"{first.subject}, to {peer}", justify="right")
    for point in curve.points:
        samples = point.result.samples
        table.add_row(
            point.label,
            *(str(spread(samples, name, lambda s: s.wall_s)) for name in first.titles),
            *(compared(ratios(samples, first.subject, peer)) for peer in first.peers),
        )
    for name, title in first.titles.items():
        table.caption = f"{table.caption or ''}{name}: {title}\n"
    return table


def _machine(facts: dict[str, Any]) -> str:
    return (
        f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_bytes'] / 2**30:.0f} GiB, "
        f"load {facts['load_average_1m']} at start, commit {facts['commit'] or 'unknown'}"
    )


def _table(figures: Figures) -> Table:
    table = Table(title=figures.title)
    table.add_column(figures.heads[0])
    for head in figures.heads[1:]:
        table.add_column(head, justify="right")
    for row in figures.rows:
        table.add_row(*row)
    return table


def _contenders(result: Result) -> Table:
    table = Table(title=f"{result.unit}: median (min..max) of {_rounds(result)} rounds")
    table.add_column("contender")
    for head in ("wall s", f"{result.subject} is", "CPU s", "of servers", "written MB"):
        table.add_column(head, justify="right", no_wrap=True)
    for name, title in result.titles.items():
        cpu = spread(result.samples, name, lambda s: s.cpu_s)
        own = spread(result.samples, name, lambda s: s.own_cpu_s)
        written = spread(result.samples, name, lambda s: s.own_written_bytes / 1e6)
        table.add_row(
            title,
            str(spread(result.samples, name, lambda s: s.wall_s)),
            ""
            if name == result.subject
            else compared(ratios(result.samples, result.subject, name)),
            f"{cpu.median:.1f}",
            f"{cpu.median - own.median:.1f}",
            f"{written.median:.0f}",
        )
    return table


def _processes(result: Result, when: str) -> Table:
    """Largest memory over all rounds, mean CPU."""
    table = Table(title=f"processes while {when}")
    table.add_column("kind")
    for head in (
        "processes",
        "CPU s",
        "peak RSS MiB",
        "peak PSS MiB",
        "peak USS MiB",
        "written MB",
    ):
        table.add_column(head, justify="right")
    found: dict[str, list[Usage]] = {}
    for sample in result.samples:
        if sample.contender == result.subject:
            for usage in sample.usage:
                found.setdefault(usage.kind, []).append(usage)
    for kind, usages in found.items():
        table.add_row(
            kind,
            str(max(u.processes for u in usages)),
            f"{sum(u.cpu_s for u in usages) / len(usages):.2f}",
            *(
                f"{max(sizes) / _MIB:.0f}"
                for sizes in (
                    [u.peak_rss_bytes for u in usages],
                    [u.peak_pss_bytes for u in usages],
                    [u.peak_uss_bytes for u in usages],
                )
            ),
            f"{max(u.written_bytes for u in usages) / 1e6:.1f}",
        )
    return table


def compared(ratio: Spread) -> str:
    """``ratio`` of wall times in words: above 1 slower, below 1 faster."""
    if ratio.median >= 1:
        return f"{ratio.median:.2f} x as long ({ratio.min:.2f}..{ratio.max:.2f})"
    return f"{1 / ratio.median:.2f} x faster ({1 / ratio.max:.2f}..{1 / ratio.min:.2f})"


def _rounds(result: Result) -> int:
    return len({sample.round for sample in result.samples})


def print_changes(changes: Sequence[Change], tolerance: float, console: Console) -> None:
    table = Table(title="wall time, and CPU, over that of the peer: median (min..max)")
    table.add_column("bench, contenders")
    for head in ("before", "after", "", ""):
        table.add_column(head, justify="right", no_wrap=True)
    for change in changes:
        table.add_row(
            change.name,
            str(change.before),
            str(change.after),
            f"{change.factor:.2f} x",
            "worse" if change.is_worse(tolerance) else "",
        )
    console.print(table)
