"""The table of all cases at the end of the session."""

from dataclasses import astuple, dataclass, fields

import pytest


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What became of one case."""

    name: str
    outcome: str
    wanted: str
    right: str
    frames: str
    packets: str
    duration: str
    gaps: str
    remedies: str
    seconds: str


_ROWS = pytest.StashKey[list[Row]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_ROWS] = []


@pytest.fixture
def table(pytestconfig: pytest.Config) -> list[Row]:
    """Rows that are put in here are printed."""
    return pytestconfig.stash[_ROWS]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    rows = config.stash[_ROWS]
    if not rows:
        return
    lines = [tuple(field.name for field in fields(Row)), *map(astuple, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    terminalreporter.section("corpus")
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        terminalreporter.line("  ".join(cells).rstrip())
    right = sum(row.right == "yes" for row in rows)
    terminalreporter.line(f"{right} of {len(rows)} cases are right")
