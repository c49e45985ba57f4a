"""The cases of the folder that ``VODRAY_CORPUS`` names: sub folders with a ``case.json``."""

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

VARIABLE = "VODRAY_CORPUS"


@dataclass(frozen=True)
class Case:
    """``expect``: what a correct result is; ``oracle``: what others read out of the same bytes."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def playlist(self) -> Path:
        return self.folder / "stream.m3u8"

    @property
    def expect(self) -> dict[str, Any]:
        return self._text["expect"]

    @property
    def oracle(self) -> dict[str, Any]:
        return self._text["oracle"]

    def uris(self) -> list[str]:
        """What the playlist points to, as it is written there."""
        lines = self.playlist.read_text(errors="replace").splitlines()
        return [line.strip() for line in lines if line.strip() and not line.startswith("#")]

    @cached_property
    def _text(self) -> dict[str, Any]:
        return json.loads((self.folder / "case.json").read_text())


def find_cases() -> list[Case] | None:
    """None where the variable is not set. A folder that it names must have cases in it."""
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    found = [Case(path.parent) for path in sorted(Path(named).resolve().glob("*/case.json"))]
    if not found:
        raise ValueError(f"{VARIABLE}={named}: there are no cases")
    return found
