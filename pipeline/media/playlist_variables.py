"""EXT-X-DEFINE: variables (RFC 8216bis 4.4.2.3), as far as the playlist itself tells them."""

import re
from collections.abc import Mapping

from pipeline.errors import PlaylistInvalid, Unsupported

_REFERENCE = re.compile(r"\{\$([A-Za-z0-9_-]+)\}")
_MAX_VALUE = 2_048


class Variables:
    """``budget``: characters that all substitutions together may give."""

    def __init__(self, ref: str, budget: int) -> None:
        self._ref, self._budget = ref, budget
        self._values: dict[str, str | None] = {}

    def define(self, found: Mapping[str, str]) -> None:
        if "NAME" in found:
            self._values[found["NAME"]] = found.get("VALUE", "")[:_MAX_VALUE]
        elif elsewhere := found.get("QUERYPARAM") or found.get("IMPORT"):
            self._values[elsewhere] = None

    def fill(self, text: str, number: int) -> str:
        """Without an EXT-X-DEFINE before it, ``{$name}`` is text like any other."""
        if not self._values or "{$" not in text:
            return text
        filled = _REFERENCE.sub(lambda reference: self._value(reference[1], number), text)
        self._budget -= len(filled)
        if self._budget < 0:
            raise PlaylistInvalid(f"{self._ref}: line {number}: its variables never end")
        return filled

    def _value(self, name: str, number: int) -> str:
        if name not in self._values:
            raise PlaylistInvalid(f"{self._ref}: line {number}: no variable is called {name[:60]}")
        value = self._values[name]
        if value is None:
            raise Unsupported(
                f"{self._ref}: line {number}: the variable {name[:60]} comes from outside the"
                " playlist (EXT-X-DEFINE with QUERYPARAM or IMPORT)"
            )
        return value
