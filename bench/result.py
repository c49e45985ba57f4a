"""What goes into a bench and what comes out of it."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.run import Sample, ratios, spread

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``folder``: where inputs are cached and services keep their data.

    ``lengths_s`` of stream: one, unless the bench draws a curve; ``content``: what is in the
    pictures, for benches that have a choice; ``flame``: where to draw which code has the time.
    """

    folder: Path
    lengths_s: tuple[int, ...]
    rounds: int
    content: str = ""
    flame: Path | None = None

    @property
    def length_s(self) -> int:
        return self.lengths_s[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A further table for people."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """``titles``: what each contender is, in the order in which they are shown. ``subject`` is
    ours; ratios are taken to ``reference``. ``notes``: what the figures do not say by themselves;
    ``extra``: further figures, JSON, which ``tables`` show."""

    name: str
    title: str
    unit: str
    facts: dict[str, Any]
    input: dict[str, Any]
    titles: dict[str, str]
    samples: tuple[Sample, ...]
    subject: str
    reference: str
    extra: dict[str, Any] = field(default_factory=dict)
    tables: tuple[Figures, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def peers(self) -> list[str]:
        return [name for name in self.titles if name != self.subject]

    def as_json(self) -> dict[str, Any]:
        """Everything: the samples, and what was computed from them."""
        return {
            "schema": SCHEMA,
            "bench": self.name,
            "title": self.title,
            "unit": self.unit,
            "facts": self.facts,
            "input": self.input,
            "contenders": self.titles,
            "wall_s": {
                name: asdict(spread(self.samples, name, lambda s: s.wall_s)) for name in self.titles
            },
            "cpu_s": {
                name: asdict(spread(self.samples, name, lambda s: s.cpu_s)) for name in self.titles
            },
            "ratios": {
                f"{self.subject}/{peer}": asdict(ratios(self.samples, self.subject, peer))
                for peer in self.peers
            },
            "cpu_ratios": {
                f"{self.subject}/{peer}": asdict(
                    ratios(self.samples, self.subject, peer, lambda s: s.cpu_s)
                )
                for peer in self.peers
            },
            "samples": [asdict(sample) for sample in self.samples],
            "notes": list(self.notes),
            **self.extra,
        }
