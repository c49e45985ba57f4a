"""An outcome that is no contenders in turns: tables, and shares of what would be ideal."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bench.result import Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """``points``: ``(count, share)``, of which one alone is a dot. ``is_bound``: nothing measured,
    but what can be reached at best."""

    name: str
    points: Sequence[tuple[float, float]]
    is_bound: bool = False


class Tabled(Protocol):
    """``facts``: of the machine; ``notes``: what the figures do not say by themselves; ``axis``:
    what the counts of ``lines`` are, and what the shares are."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def facts(self) -> dict[str, Any]: ...

    @property
    def notes(self) -> Sequence[str]: ...

    @property
    def axis(self) -> tuple[str, str]: ...

    def about(self) -> str:
        """What it was measured on."""

    def figures(self) -> Sequence[Figures]: ...

    def lines(self) -> Sequence[Line]:
        """The main one first."""

    def as_json(self) -> dict[str, Any]: ...
