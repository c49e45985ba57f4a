"""``python -m bench [NAME]``."""

import json
import sys
from pathlib import Path

import click
from rich.console import Console

from bench.cases import CASES, CONTENTS, Case
from bench.result import Options
from pipeline.errors import VodrayError
from pipeline.settings import parse_duration

_OUT = Path(__file__).parent / "out"
_LIST = "\n".join(
    f"  {case.name:10s} {case.measures}\n             against: {case.peers}"
    for case in CASES.values()
)


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


@click.command(
    epilog="\b\nBenches:\n" + _LIST + "\n\n\b\nExamples:\n"
    "  python -m bench remux\n"
    "  python -m bench remux --length 5m --rounds 5\n"
    "  python -m bench remux --json remux.json --plot remux.svg\n"
    "  python -m bench transcode --length 2m --content both"
)
@click.argument("name", required=False)
@click.option("--length", "lengths", type=_Length(), multiple=True,
              help="Length of stream; several draw a curve (live).  [default: remux 1h, "
                   "live 5m 30m 1h 4h, transcode 2m, ladder 1m; scale: 80s of work for each "
                   "worker]")  # fmt: skip
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True,
              help="Runs of each contender that count.")  # fmt: skip
@click.option("--content", type=click.Choice([*CONTENTS, "both"]), default="natural",
              show_default=True, help="What transcode and ladder encode.")  # fmt: skip
@click.option("--json", "json_path", type=click.Path(path_type=Path), metavar="OUT",
              help="Write all figures, with the machine's facts.")  # fmt: skip
@click.option("--plot", "plot_path", type=click.Path(path_type=Path), metavar="OUT.svg",
              help="Draw them.")  # fmt: skip
def main(
    name: str | None,
    lengths: tuple[int, ...],
    rounds: int,
    content: str,
    json_path: Path | None,
    plot_path: Path | None,
) -> None:
    """Measure vodray against its peers: all in the same run, on the same input, in turns.

    Without NAME, all benches run. Each prints tables: median and spread of wall time over the
    rounds, how vodray compares with each peer (by round, then the median), CPU seconds of all
    processes involved, peak memory of each kind of process, and what was written to disk outside
    of S3; where pictures are encoded, also what they look like. A warm-up round comes first and
    does not count. Inputs are made once and kept in bench/out. Trust the ratios, not the seconds:
    other work on the machine slows everyone.
    """
    chosen = [
        (case, _options(case, lengths, rounds, each))
        for case in _cases(name)
        for each in (case.contents if content == "both" else case.contents and (content,)) or ("",)
    ]
    for case, options in chosen:
        # Several results do not go into one file.
        own = f"-{case.name}-{options.content}".rstrip("-") if len(chosen) > 1 else ""
        _measure(case, options, _with(json_path, own), _with(plot_path, own))


def _options(case: Case, lengths: tuple[int, ...], rounds: int, content: str) -> Options:
    if len(lengths) > 1 and len(case.lengths_s) == 1:
        raise click.UsageError(f"{case.name} takes one length")
    return Options(
        folder=_OUT,
        lengths_s=tuple(sorted(set(lengths))) or case.lengths_s,
        rounds=rounds,
        content=content,
    )


def _cases(name: str | None) -> list[Case]:
    if name is None:
        return list(CASES.values())
    if name not in CASES:
        raise click.UsageError(f"There is no bench {name!r}. Benches: {', '.join(CASES)}")
    return [CASES[name]]


def _with(path: Path | None, suffix: str) -> Path | None:
    return path and path.with_stem(f"{path.stem}{suffix}")


def _measure(case: Case, options: Options, json_path: Path | None, plot_path: Path | None) -> None:
    from bench.plot import draw
    from bench.report import print_outcome

    try:
        result = case.run(options, lambda text: click.echo(text, err=True))
    except VodrayError as error:
        raise click.ClickException(str(error)) from error
    print_outcome(result, Console(width=None if sys.stdout.isatty() else 160))
    if json_path is not None:
        json_path.write_text(json.dumps(result.as_json(), indent=1) + "\n", encoding="utf-8")
    if plot_path is not None:
        plot_path.write_text(draw(result), encoding="utf-8")


if __name__ == "__main__":
    main(prog_name="python -m bench")
