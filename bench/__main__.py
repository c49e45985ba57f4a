"""``python -m bench [NAME]``."""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from bench import compare as comparison
from bench.cases import CASES, CONTENTS, Case
from bench.result import Options
from pipeline.errors import VodrayError
from pipeline.settings import parse_duration

_OUT = Path(__file__).parent / "out"


class _Length(click.ParamType[int]):
    """Whole seconds of a Go duration."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        if isinstance(value, int):
            return value
        try:
            length = parse_duration(value)
        except ValueError as error:
            self.fail(f"{value!r} is {error}", param, ctx)
        seconds = int(length.total_seconds())  # type: ignore[attr-defined]
        if seconds < 20:
            self.fail("shorter than 20s", param, ctx)
        return seconds


_OPTIONS: list[click.Parameter] = [
    click.Option(["--length", "lengths"], type=_Length(), multiple=True,
                 help="Length of stream; several draw a curve (live).  [default: remux 1h, "
                      "live 5m 30m 1h 4h, transcode 2m, ladder 1m, long 1h 4h 12h, intake 1m; "
                      "scale: 80s of work for each worker]"),
    click.Option(["--rounds"], type=click.IntRange(1, 100), default=3, show_default=True,
                 help="Runs of each contender that count."),
    click.Option(["--content"], type=click.Choice([*CONTENTS, "both"]), default="natural",
                 show_default=True, help="What transcode and ladder encode."),
    click.Option(["--json", "json_path"], type=click.Path(path_type=Path), metavar="OUT",
                 help="Where all figures go, with the machine's facts.  "
                      "[default: bench/out/NAME.json]"),
    click.Option(["--plot", "plot_path"], type=click.Path(path_type=Path), metavar="OUT.svg",
                 help="Where they are drawn.  [default: bench/out/NAME.svg]"),
    click.Option(["--flame", "flame_path"], type=click.Path(path_type=Path), metavar="OUT.svg",
                 help="Draw which Python code of vodray has the time (py-spy; all but scale). "
                      "Slower: its figures are none."),
]  # fmt: skip
_EPILOG = """\b
Examples:
  python -m bench remux
  python -m bench remux --length 5m --rounds 5
  python -m bench remux --json remux.json --plot remux.svg
  python -m bench transcode --length 2m --content both
  python -m bench remux --length 5m --rounds 1 --flame flame.svg
  python -m bench compare before.json after.json
"""


def _run(
    cases: Sequence[Case],
    lengths: tuple[int, ...],
    rounds: int,
    content: str,
    json_path: Path | None,
    plot_path: Path | None,
    flame_path: Path | None,
) -> None:
    chosen = [
        (case, _options(case, lengths, rounds, each))
        for case in cases
        for each in (case.contents if content == "both" else case.contents and (content,)) or ("",)
    ]
    _OUT.mkdir(exist_ok=True)
    for case, options in chosen:
        name = f"{case.name}-{options.content}".rstrip("-")
        # Several results do not go into one file.
        own = f"-{name}" if len(chosen) > 1 else ""
        options = replace(options, flame=_with(flame_path, own))
        _measure(
            case,
            options,
            _with(json_path, own) or _OUT / f"{name}.json",
            _with(plot_path, own) or _OUT / f"{name}.svg",
        )


def _options(case: Case, lengths: tuple[int, ...], rounds: int, content: str) -> Options:
    if len(lengths) > 1 and len(case.lengths_s) == 1:
        raise click.UsageError(f"{case.name} takes one length")
    return Options(
        folder=_OUT,
        lengths_s=tuple(sorted(set(lengths))) or case.lengths_s,
        rounds=rounds,
        content=content,
    )


def _with(path: Path | None, suffix: str) -> Path | None:
    return path and path.with_stem(f"{path.stem}{suffix}")


def _measure(case: Case, options: Options, json_path: Path, plot_path: Path) -> None:
    from bench.plot import draw
    from bench.report import print_outcome

    try:
        result = case.run(options, lambda text: click.echo(text, err=True))
    except VodrayError as error:
        raise click.ClickException(str(error)) from error
    print_outcome(result, Console(width=None if sys.stdout.isatty() else 160))
    json_path.write_text(json.dumps(result.as_json(), indent=1) + "\n", encoding="utf-8")
    plot_path.write_text(draw(result), encoding="utf-8")
    click.echo(f"figures: {json_path}\nplot:    {plot_path}", err=True)


@click.group(params=_OPTIONS, invoke_without_command=True, epilog=_EPILOG)
@click.pass_context
def main(context: click.Context, /, **options: Any) -> None:
    """Measure vodray against its peers: all in the same run, on the same input, in turns.

    Without a name, all benches run. Each prints tables: median and spread of wall time over the
    rounds, how vodray compares with each peer (by round, then the median), CPU seconds of all
    processes involved, peak memory of each kind of process, and what was written to disk outside
    of S3; where pictures are encoded, also what they look like. A warm-up round comes first and
    does not count. Inputs are made once and kept in bench/out. Trust the ratios, not the seconds:
    other work on the machine slows everyone.
    """
    if context.invoked_subcommand is None:
        _run(list(CASES.values()), **options)


def _command(case: Case) -> click.Command:
    return click.Command(
        case.name,
        params=_OPTIONS,
        callback=partial(_run, [case]),
        help=f"Measure {case.measures}.\n\nAgainst: {case.peers}.",
        short_help=case.measures,
    )


for each_case in CASES.values():
    main.add_command(_command(each_case))


@main.command()
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@click.option("--tolerance", type=click.FloatRange(min=0), default=0.1, show_default=True,
              help="By how much a ratio may be worse: 0.1 is a tenth.")  # fmt: skip
def compare(before: Path, after: Path, tolerance: float) -> None:
    """Compare two outcomes that --json wrote, by the ratios to peers.

    Ends with 1 if vodray is slower by more than the tolerance, with no round as fast as the slowest
    one was before.
    """
    try:
        changes = comparison.compare(before, after)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    from bench.report import print_changes

    print_changes(changes, tolerance, Console(width=None if sys.stdout.isatty() else 160))
    if any(change.is_worse(tolerance) for change in changes):
        raise SystemExit(1)


if __name__ == "__main__":
    main(prog_name="python -m bench")
