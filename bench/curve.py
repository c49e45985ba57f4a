"""The same measurement at several lengths of stream: what grows with them, and what does not."""

from dataclasses import dataclass
from typing import Any

from bench.result import SCHEMA, Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """``length_s`` of stream, and what was measured with it."""

    length_s: int
    result: Result

    @property
    def label(self) -> str:
        return length_in_words(self.length_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """``points``: at least one, by length, all with the same contenders. ``notes``: see
    ``Result``."""

    name: str
    title: str
    points: tuple[Point, ...]
    notes: tuple[str, ...] = ()

    @property
    def first(self) -> Result:
        return self.points[0].result

    def as_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "bench": self.name,
            "title": self.title,
            "facts": self.first.facts,
            "points": [
                {"length_s": point.length_s, **point.result.as_json()} for point in self.points
            ],
            "notes": list(self.notes),
        }


def length_in_words(seconds: int) -> str:
    if seconds < 60:
        return f"{seconds} s"
    return f"{seconds / 3600:g} h" if seconds >= 3600 else f"{seconds / 60:g} min"
