"""A bench's result for people: tables for the terminal."""

from rich.console import Console
from rich.table import Table

from bench.result import Figures, Result
from bench.run import Spread, ratios, spread
from bench.watch import Usage

_MIB = 2**20


def print_result(result: Result, console: Console) -> None:
    facts, made_of = result.facts, result.input
    console.print(f"[bold]{result.name}[/]: {result.title}")
    console.print(
        f"{made_of['title']}; {made_of['segments']} segments, {made_of['bytes'] / 1e6:.0f} MB\n"
        f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_bytes'] / 2**30:.0f} GiB, "
        f"load {facts['load_average_1m']} at start, commit {facts['commit'] or 'unknown'}"
    )
    console.print(_contenders(result))
    console.print(_processes(result))
    for figures in result.tables:
        console.print(_table(figures))
    for note in result.notes:
        console.print(f"- {note}")


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
            _shown(spread(result.samples, name, lambda s: s.wall_s)),
            ""
            if name == result.subject
            else compared(ratios(result.samples, result.subject, name)),
            f"{cpu.median:.1f}",
            f"{cpu.median - own.median:.1f}",
            f"{written.median:.0f}",
        )
    return table


def _processes(result: Result) -> Table:
    """Largest memory over all rounds, mean CPU."""
    table = Table(title=f"processes while {result.subject} works")
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


def _shown(value: Spread) -> str:
    return f"{value.median:.2f} ({value.min:.2f}..{value.max:.2f})"


def _rounds(result: Result) -> int:
    return len({sample.round for sample in result.samples})
