"""An outcome that is no contenders in turns: tables, and one chart."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bench.result import Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """``points``: ``(x, y)``, of which one alone is a dot. ``labels``: what stands beside each, if
    anything. ``is_bound``: nothing measured, but what can be reached at best."""

    name: str
    points: Sequence[tuple[float, float]]
    labels: Sequence[str] = ()
    is_bound: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """``across``, ``up``: what the axes say, and which direction is better. ``lines``: the main one
    first. ``unit``: format of a value on the vertical axis, which begins at 0 unless it is
    logarithmic."""

    across: str
    up: str
    lines: Sequence[Line]
    unit: str = "{:g}"
    is_log_across: bool = False
    is_log_up: bool = False


class Tabled(Protocol):
    """``facts``: of the machine; ``notes``: what the figures do not say by themselves."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def facts(self) -> dict[str, Any]: ...

    @property
    def notes(self) -> Sequence[str]: ...

    def about(self) -> str:
        """What it was measured on."""

    def figures(self) -> Sequence[Figures]: ...

    def chart(self) -> Chart: ...

    def as_json(self) -> dict[str, Any]: ...
