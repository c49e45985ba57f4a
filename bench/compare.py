"""Two outcomes of the same bench: what vodray needs relative to each peer, before and after.

Seconds depend on the machine and on what else it does, ratios to a peer of the same run far less.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.curve import length_in_words
from bench.result import SCHEMA
from bench.run import Spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """``name``: bench, length and contenders; ``before``, ``after``: the ratio of wall times, or of
    CPU seconds."""

    name: str
    before: Spread
    after: Spread

    @property
    def factor(self) -> float:
        """Above 1: slower than it was, compared with the peer."""
        return self.after.median / self.before.median

    def is_worse(self, tolerance: float) -> bool:
        """Whether it is slower by more than ``tolerance`` (0.1: a tenth), and no round was as fast
        as the slowest was before."""
        return self.factor > 1 + tolerance and self.after.min > self.before.max


def read_ratios(path: Path) -> dict[str, Spread]:
    """By bench, length and contenders. Raises ``ValueError`` for what is no outcome of a bench."""
    try:
        outcome = json.loads(path.read_text(encoding="utf-8"))
        if outcome["schema"] != SCHEMA:
            raise ValueError(f"{path}: schema {outcome['schema']}, this bench writes {SCHEMA}")
        parts: Sequence[Mapping[str, Any]] = outcome.get("points") or [outcome]
        return {
            f"{outcome['bench']} {_length(part)}, {names}{of}": Spread(**ratio)
            for part in parts
            for kind, of in (("ratios", ""), ("cpu_ratios", ", CPU"))
            for names, ratio in part.get(kind, {}).items()
        }
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not what --json of a bench writes") from error


def compare(before: Path, after: Path) -> list[Change]:
    """What both have measured. Raises ``ValueError`` if that is nothing."""
    old, new = read_ratios(before), read_ratios(after)
    common = [name for name in old if name in new]
    if not common:
        raise ValueError(
            f"{before} and {after} have measured nothing in common: {sorted(old)}, {sorted(new)}"
        )
    return [Change(name=name, before=old[name], after=new[name]) for name in common]


def _length(part: Mapping[str, Any]) -> str:
    return length_in_words(part["input"]["seconds"])
