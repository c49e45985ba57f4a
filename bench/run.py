"""Runs contenders in turns, A B C A B C, and says how they compare.

Turns, because a machine is never equally fast twice: only figures of the same round are compared,
and what is reported is the median of the rounds' ratios with their spread.
"""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.watch import Usage, Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """``run`` does the work once, under the name that it is given, and is what is timed;
    ``prepare`` comes before."""

    name: str
    title: str
    run: Callable[[str], object]
    prepare: Callable[[str], object] = lambda _: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One run of one contender."""

    contender: str
    round: int
    wall_s: float
    usage: tuple[Usage, ...]

    @property
    def cpu_s(self) -> float:
        return sum(usage.cpu_s for usage in self.usage)

    @property
    def own_cpu_s(self) -> float:
        """Without the servers (S3, PostgreSQL, Kafka)."""
        return sum(usage.cpu_s for usage in self.usage if not usage.is_server)

    @property
    def own_written_bytes(self) -> int:
        return sum(usage.written_bytes for usage in self.usage if not usage.is_server)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A median and the extremes around it."""

    median: float
    min: float
    max: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        found = sorted(values)
        return cls(median=median(found), min=found[0], max=found[-1])

    def __str__(self) -> str:
        return format(self)

    def __format__(self, spec: str) -> str:
        """Two decimals unless ``spec`` wants others."""
        spec = spec or ".2f"
        return f"{self.median:{spec}} ({self.min:{spec}}..{self.max:{spec}})"


def take_turns(
    contenders: Sequence[Contender],
    *,
    rounds: int,
    roots: Iterable[int],
    between: Callable[[], object],
    say: Callable[[str], object],
    warm_up: Sequence[Contender] | None = None,
) -> list[Sample]:
    """``rounds`` runs of each after one warm-up round that does not count: of themselves, or of
    ``warm_up`` where their own would take long.

    ``between`` cleans up after each run; it is not timed. Every other round goes backwards, so that
    nobody always comes after the same one.
    """
    samples: list[Sample] = []
    watched = (os.getpid(), *roots)
    for number in range(rounds + 1):
        turns = contenders if number or warm_up is None else warm_up
        for contender in turns if number % 2 == 0 else list(reversed(turns)):
            sample = measure(contender, number, watched)
            between()
            turn = f"round {number}" if number else "warm-up"
            say(f"{turn}: {contender.name} {sample.wall_s:.2f} s")
            if number:
                samples.append(sample)
    return samples


def measure(contender: Contender, number: int, watched: Sequence[int]) -> Sample:
    """One run. ``watched``: whose processes count, with what they start."""
    name = f"{contender.name}-{number}"
    contender.prepare(name)
    with Watch(watched) as watch:
        begin = time.perf_counter()
        contender.run(name)
        wall_s = time.perf_counter() - begin
    return Sample(contender=contender.name, round=number, wall_s=wall_s, usage=watch.usage())


def ratios(
    samples: Sequence[Sample],
    of: str,
    to: str,
    value: Callable[[Sample], float] = lambda sample: sample.wall_s,
) -> Spread:
    """What one contender needs over what another does, round by round: wall time, or ``value``."""
    found = {(sample.contender, sample.round): value(sample) for sample in samples}
    rounds = sorted({sample.round for sample in samples})
    return Spread.of(found[of, number] / found[to, number] for number in rounds)


def spread(samples: Sequence[Sample], contender: str, value: Callable[[Sample], float]) -> Spread:
    return Spread.of(value(sample) for sample in samples if sample.contender == contender)
