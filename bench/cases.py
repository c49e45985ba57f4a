"""The benches that there are, by name."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.result import Options, Result

Say = Callable[[str], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """``measures`` and ``peers`` are for people; ``run`` says what it does as it goes."""

    name: str
    measures: str
    peers: str
    run: Callable[[Options, Say], Result]


def _remux(options: Options, say: Say) -> Result:
    # Imported when it runs: `--help` must not wait for the libraries that it needs.
    from bench import remux

    return remux.run(options, say)


CASES = {
    case.name: case
    for case in (
        Case(
            name="remux",
            measures="an ended stream in S3 becomes one MP4 in S3: wall time, CPU, memory, disk",
            peers="FFmpeg after a download; FFmpeg on presigned URLs; the bare transfer",
            run=_remux,
        ),
    )
}
