"""The benches that there are, by name."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.curve import Curve
from bench.result import Options, Result
from bench.tabled import Tabled

Say = Callable[[str], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """``measures`` and ``peers`` are for people; ``run`` says what it does as it goes.

    ``lengths_s`` of stream, unless others are asked for; ``contents``: of the pictures, if there is
    a choice.
    """

    name: str
    measures: str
    peers: str
    lengths_s: tuple[int, ...]
    contents: tuple[str, ...] = ()
    run: Callable[[Options, Say], Result | Curve | Tabled]


def _remux(options: Options, say: Say) -> Result:
    # Imported when it runs: `--help` must not wait for the libraries that it needs.
    from bench import remux

    return remux.run(options, say)


def _live(options: Options, say: Say) -> Curve:
    from bench import live

    return live.run(options, say)


def _transcode(options: Options, say: Say) -> Result:
    from bench import transcode

    return transcode.run(options, say)


def _ladder(options: Options, say: Say) -> Result:
    from bench import ladder

    return ladder.run(options, say)


def _scale(options: Options, say: Say) -> Tabled:
    from bench import scale

    return scale.run(options, say)


def _long(options: Options, say: Say) -> Tabled:
    from bench import long

    return long.run(options, say)


def _intake(options: Options, say: Say) -> Tabled:
    from bench import intake

    return intake.run(options, say)


CONTENTS = ("natural", "synthetic")
CASES = {
    case.name: case
    for case in (
        Case(
            name="remux",
            measures="an ended stream in S3 becomes one MP4 in S3: wall time, CPU, memory, disk",
            peers="FFmpeg after a download; FFmpeg on presigned URLs; the bare transfer",
            lengths_s=(3600,),
            run=_remux,
        ),
        Case(
            name="live",
            measures="from the end of a live stream to its MP4, by the stream's length",
            peers="FFmpeg after a download; FFmpeg on presigned URLs; both from the end on",
            lengths_s=(300, 1800, 3600, 4 * 3600),
            run=_live,
        ),
        Case(
            name="transcode",
            measures="profile h264 of 720p: wall time, CPU, size, VMAF, joins, a decoder's buffer",
            peers="FFmpeg with the same settings and all cores; its CPU with one thread",
            lengths_s=(120,),
            contents=CONTENTS,
            run=_transcode,
        ),
        Case(
            name="ladder",
            measures="profile abr of 1080p: the same for 720p, 480p and 360p at once",
            peers="one FFmpeg command that decodes once and encodes all",
            lengths_s=(60,),
            contents=CONTENTS,
            run=_ladder,
        ),
        Case(
            name="long",
            measures="what an hour of stream costs in short and in long recordings; memory of "
            "each kind of process",
            peers="the shortest recording",
            lengths_s=(3600, 4 * 3600, 12 * 3600),
            run=_long,
        ),
        Case(
            name="scale",
            measures="1 to 256 simulated workers kept busy, what a chunk and a live stream cost; "
            "real copies with 1 worker to one per core",
            peers="the ideal: all work by the number of workers; list scheduling",
            lengths_s=(80,),
            run=_scale,
        ),
        Case(
            name="intake",
            measures="tasks that become durable by webhook and through Kafka; 100 live streams at "
            "once",
            peers="nobody",
            lengths_s=(60,),
            run=_intake,
        ),
    )
}
