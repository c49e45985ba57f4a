"""A bench's result as a plot: SVG written by hand, since a few bars are all there is to draw."""

from html import escape

from bench.report import compared
from bench.result import Result
from bench.run import ratios, spread

_WIDTH, _LEFT, _RIGHT = 760, 24, 150
_ROW, _BAR, _TOP = 58, 18, 84
_OURS, _PEER, _INK, _FAINT = "#0b7a75", "#9aa5b1", "#1f2933", "#616e7c"


def draw(result: Result) -> str:
    """One bar per contender: the median, a line from the fastest to the slowest round, and how
    ours compares."""
    walls = {name: spread(result.samples, name, lambda s: s.wall_s) for name in result.titles}
    longest = max(wall.max for wall in walls.values())
    scale = (_WIDTH - _LEFT - _RIGHT) / longest
    height = _TOP + _ROW * len(walls) + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" font-family="system-ui, sans-serif" role="img">',
        f"<title>{escape(result.title)}</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(_LEFT, 34, result.title, 17, bold=True),
        _text(_LEFT, 56, f"{result.unit}; shorter is better", 13, _FAINT),
    ]
    for row, (name, title) in enumerate(result.titles.items()):
        wall, y = walls[name], _TOP + _ROW * row
        ours = name == result.subject
        end = _LEFT + wall.median * scale
        middle = y + 12 + _BAR / 2
        parts += [
            _text(_LEFT, y + 6, title, 13, bold=ours),
            f'<rect x="{_LEFT}" y="{y + 12}" width="{wall.median * scale:.1f}" height="{_BAR}" '
            f'fill="{_OURS if ours else _PEER}"/>',
            f'<line x1="{_LEFT + wall.min * scale:.1f}" x2="{_LEFT + wall.max * scale:.1f}" '
            f'y1="{middle}" y2="{middle}" stroke="{_INK}" stroke-width="2"/>',
            _text(
                max(end, _LEFT + wall.max * scale) + 8, middle + 5, f"{wall.median:.1f} s", 14,
                bold=True,
            ),
        ]  # fmt: skip
        if not ours:
            said = compared(ratios(result.samples, result.subject, name))
            parts.append(_text(_LEFT, y + 44, f"{result.subject} is {said}", 12, _FAINT))
    facts = result.facts
    footer = f"{facts['cpu']}, {facts['cores']} cores, all servers on it; commit {facts['commit']}"
    parts += [_text(_LEFT, height - 12, footer, 11, _FAINT), "</svg>", ""]
    return "\n".join(parts)


def _text(
    x: float, y: float, words: str, size: int, color: str = _INK, *, bold: bool = False
) -> str:
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{color}"{weight}>'
        f"{escape(words)}</text>"
    )
