"""``live``: from the end of a live stream to its MP4, by how long the stream was.

The stream is told in steps as fast as it is recorded, and its end in real time: what is measured is
the state in which a stream of that length leaves a service that has kept up.
"""

import time
from collections.abc import Callable

from bench import peers
from bench.curve import Curve, Point, length_in_words
from bench.facts import machine_facts
from bench.media import PLAIN, SEGMENT_S, Stream, make_stream
from bench.result import Options, Result
from bench.run import Contender, take_turns
from bench.told import Told
from bench.world import World, running
from pipeline.model import Recording

OURS = "vodray"
# Told one segment at a time, each when it would be there.
_LAST_SEGMENTS = 5
_NOTES = (
    "a stream grows as fast as it is recorded, its last 20 s in real time; timed is from "
    "stream.ended, which is told when the last segment and #EXT-X-ENDLIST are there",
    "CPU and memory are those of the time after the end: what a whole stream costs is bench long",
)


def run(options: Options, say: Callable[[str], object]) -> Curve:
    """Raises ``WorkerLost`` where an MP4 does not come out or is too small."""
    with running(options.folder, flame=options.flame) as world:
        movers = peers.Movers()
        try:
            peers.warm(movers)
            points = [
                _point(world, movers, length_s, options, say, is_first=not number)
                for number, length_s in enumerate(options.lengths_s)
            ]
        finally:
            movers.stop()
    return Curve(
        name="live",
        title="time from the end of a live stream to its MP4 in S3",
        points=tuple(points),
        notes=_NOTES,
    )


def _point(
    world: World,
    movers: peers.Movers,
    length_s: int,
    options: Options,
    say: Callable[[str], object],
    *,
    is_first: bool,
) -> Point:
    facts = machine_facts(options.folder)
    say(f"{length_in_words(length_s)} of stream")
    stream = make_stream(PLAIN, length_s, options.folder / "media")
    place = world.publish(stream.folder, stream.folder.name)
    recordings: list[Recording] = []
    contenders = _contenders(world, movers, place, stream, recordings)
    samples = take_turns(
        contenders,
        rounds=options.rounds,
        roots=[world.pid],
        between=lambda: world.settle(stream.size_bytes),
        say=say,
        warm_up=None if is_first else (),
    )
    result = Result(
        name="live",
        title=f"end of {length_in_words(length_s)} of live stream to one MP4 in S3",
        unit="s from stream.ended to the MP4",
        facts=facts,
        input=stream.facts(),
        titles={contender.name: contender.title for contender in contenders},
        samples=tuple(samples),
        subject=OURS,
        reference="stream",
        extra={"report_timings_s": [world.report(each)["timings_s"] for each in recordings]},
    )
    return Point(length_s=length_s, result=result)


def _contenders(
    world: World,
    movers: peers.Movers,
    place: peers.Place,
    stream: Stream,
    recordings: list[Recording],
) -> list[Contender]:
    live = _Live(world, place, stream)

    def ended(name: str) -> None:
        recordings.append(live.end(name))

    return [
        Contender(name=OURS, title="vodray: has recorded it", prepare=live.begin, run=ended),
        *peers.scripts(place, movers),
    ]


class _Live:
    """A stream that has been recorded when it ends."""

    def __init__(self, world: World, place: peers.Place, stream: Stream) -> None:
        self._world, self._name = world, stream.folder.name
        self._told = Told(world, place, stream)

    def begin(self, name: str) -> None:
        """Announce it, and have all of it recorded but what comes last."""
        count = self._told.segments
        in_time = max(1, count - _LAST_SEGMENTS)
        self._told.have_recorded(name, self._id(name), in_time - 1 or 1)
        for told in range(in_time, count + 1):
            self._told.tell(name, told)
            if told < count:
                time.sleep(SEGMENT_S)

    def end(self, name: str) -> Recording:
        return self._world.record(self._id(name), self._told.place_of(name).hls_path)

    def _id(self, name: str) -> str:
        return f"{self._name}-{name}"
