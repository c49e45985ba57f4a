"""The table of all cases at the end of the session.

Its rows travel in the reports of the tests, so that those of other processes arrive as well.
"""

from dataclasses import asdict, astuple, dataclass, fields

import pytest

_PROPERTY = "corpus"


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


def enter(test: pytest.Item, row: Row) -> None:
    """Have it printed with the others."""
    test.user_properties.append((_PROPERTY, asdict(row)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.getreports(kind)]
    entered = [dict(report.user_properties).get(_PROPERTY) for report in reports]
    rows = sorted((Row(**row) for row in entered if row), key=lambda row: row.name)
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
