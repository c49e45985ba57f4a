"""``long``: whether an hour in a long recording costs more than one in a short recording."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.curve import length_in_words
from bench.facts import machine_facts
from bench.media import LOW, make_stream
from bench.result import SCHEMA, Figures, Options
from bench.run import Contender, Sample, Spread, take_turns
from bench.tabled import Chart, Line
from bench.told import Told
from bench.world import World, running

_MIB = 2**20
_NOTES = (
    "a stream grows by five minutes whenever those before are recorded, then it ends: no time "
    "passes in which everybody waits",
    "the bit rate is low so that half a day fits on a disk: what each segment and chunk costs "
    "weighs most, and workers need less memory than with many bits (bench remux)",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """``hours`` of stream, and what each round of it took; ``end_s``: from the end on."""

    hours: float
    samples: tuple[Sample, ...]
    end_s: Spread

    def per_hour(self, value: Callable[[Sample], float]) -> Spread:
        return Spread.of(value(sample) / self.hours for sample in self.samples)

    @property
    def label(self) -> str:
        return length_in_words(round(self.hours * 3600))


@dataclass(frozen=True, slots=True, kw_only=True)
class LongResult:
    """A ``Tabled`` outcome. ``lengths``: at least one, the shortest first."""

    facts: dict[str, Any]
    input: str
    lengths: tuple[Length, ...]
    name: str = "long"
    title: str = "what an hour of stream costs, by how long the recording is"
    notes: tuple[str, ...] = _NOTES

    def about(self) -> str:
        return self.input

    def figures(self) -> Sequence[Figures]:
        return (
            Figures(
                title="for each hour of stream: median (min..max)",
                heads=("length", "CPU s", "without servers", "as in the shortest", "wall s",
                       "after the end, in all, s"),
                rows=tuple(
                    (length.label, str(length.per_hour(_cpu_s)),
                     str(length.per_hour(_own_cpu_s)), f"{self._relative(length):.3f} x",
                     str(length.per_hour(lambda sample: sample.wall_s)),
                     str(length.end_s))
                    for length in self.lengths
                ),
            ),
            Figures(
                title="largest process of each kind: peak RSS (PSS) MiB",
                heads=("kind", *(length.label for length in self.lengths)),
                rows=tuple(
                    (kind, *(self._memory(length, kind) for length in self.lengths))
                    for kind in self._kinds()
                ),
            ),
            Figures(
                title="CPU s for each hour of stream",
                heads=("kind", *(length.label for length in self.lengths)),
                rows=tuple(
                    (kind, *(str(length.per_hour(_cpu_of(kind))) for length in self.lengths))
                    for kind in self._kinds()
                ),
            ),
        )  # fmt: skip

    def chart(self) -> Chart:
        return Chart(
            across="hours of stream in one recording",
            up="seconds of CPU for each hour of stream; flat and low is better",
            unit="{:g} s",
            lines=[
                Line(
                    name=name,
                    points=[(n.hours, n.per_hour(cpu_s).median) for n in self.lengths],
                    labels=[f"{n.per_hour(cpu_s).median:.1f} s" for n in self.lengths],
                )
                for name, cpu_s in (
                    ("vodray and all servers on the machine", _cpu_s),
                    ("vodray alone", _own_cpu_s),
                )
            ],
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "bench": self.name,
            **asdict(self),
            "cpu_s_per_hour": {n.label: asdict(n.per_hour(_cpu_s)) for n in self.lengths},
            "relative_to_shortest": {n.label: self._relative(n) for n in self.lengths},
        }

    def _relative(self, length: Length) -> float:
        """By medians: rounds of another length come minutes later."""
        return length.per_hour(_cpu_s).median / self.lengths[0].per_hour(_cpu_s).median

    def _kinds(self) -> list[str]:
        longest = self.lengths[-1].samples
        return list(dict.fromkeys(usage.kind for sample in longest for usage in sample.usage))

    def _memory(self, length: Length, kind: str) -> str:
        usages = [u for sample in length.samples for u in sample.usage if u.kind == kind]
        if not usages:
            return ""
        rss, pss = (
            max(sizes) / _MIB
            for sizes in ([u.peak_rss_bytes for u in usages], [u.peak_pss_bytes for u in usages])
        )
        return f"{rss:.0f} ({pss:.0f})"


def run(options: Options, say: Callable[[str], object]) -> LongResult:
    """Raises ``WorkerLost`` where an MP4 does not come out or is too small."""
    facts = machine_facts(options.folder)
    lengths = []
    with running(options.folder, flame=options.flame) as world:
        for number, length_s in enumerate(options.lengths_s):
            say(f"{length_in_words(length_s)} of stream")
            lengths.append(_length(world, length_s, options, say, is_first=not number))
    return LongResult(facts=facts, input=LOW.title, lengths=tuple(lengths))


def _length(
    world: World,
    length_s: int,
    options: Options,
    say: Callable[[str], object],
    *,
    is_first: bool,
) -> Length:
    stream = make_stream(LOW, length_s, options.folder / "media")
    told = Told(world, world.publish(stream.folder, stream.folder.name), stream)
    ends_s: list[float] = []

    def record(name: str) -> None:
        stream_id = f"{stream.folder.name}-{name}"
        told.have_recorded(name, stream_id, told.segments)
        begin = time.perf_counter()
        world.record(stream_id, told.place_of(name).hls_path)
        ends_s.append(time.perf_counter() - begin)

    samples = take_turns(
        [Contender(name="vodray", title="vodray", run=record)],
        rounds=options.rounds,
        roots=[world.pid],
        between=lambda: world.settle(stream.size_bytes),
        say=say,
        warm_up=None if is_first else (),
    )
    return Length(
        hours=length_s / 3600,
        samples=tuple(samples),
        end_s=Spread.of(ends_s[-options.rounds :]),
    )


def _cpu_s(sample: Sample) -> float:
    return sample.cpu_s


def _own_cpu_s(sample: Sample) -> float:
    return sample.own_cpu_s


def _cpu_of(kind: str) -> Callable[[Sample], float]:
    return lambda sample: sum(usage.cpu_s for usage in sample.usage if usage.kind == kind)
