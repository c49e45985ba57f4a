"""``vodray ls``."""

from collections.abc import Iterable

import click

from serve_app.commands import _api

_FIELDS = ("id", "status", "stream_id", "started_at", "duration", "file_size", "file_path")


@click.command(
    "ls",
    epilog="""\b
Examples:
  vodray ls
  vodray ls --limit 1000 | awk -F'\\t' '$2 == "failed" { print $1 }'
  vodray ls --json --url http://recorder:8083
""",
)
@_api.url_option
@click.option(
    "--limit", type=click.IntRange(1), default=100, show_default=True, help="At most this many."
)
@_api.json_option
def command(url: str | None, limit: int, as_json: bool) -> None:
    """List recordings, newest first.

    A table on a terminal; otherwise a line per recording with tabs between its id, status, stream
    id, start, duration in seconds, size in bytes and path.
    """
    recordings = list(_api.ApiClient(url).recordings(limit))
    if as_json:
        _api.print_json(recordings)
    elif _api.on_terminal():
        _print_table(recordings)
    else:
        for recording in recordings:
            click.echo("\t".join(_api.plain(recording[field]) for field in _FIELDS))


def _print_table(recordings: Iterable[_api.Recording]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading, right in (
        ("id", False),
        ("status", False),
        ("stream", False),
        ("started", False),
        ("duration", True),
        ("size", True),
        ("result", False),
    ):
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    for each in recordings:
        style = _api.STATUS_STYLES.get(each["status"], "")
        table.add_row(
            each["id"],
            Text(_api.plain(each["status"]), style=style),
            Text(_api.plain(each["stream_id"])),
            Text(_api.plain(each["started_at"])),
            _api.clock(each["duration"]),
            _api.size(each["file_size"]),
            Text(_api.plain(each["error"] or each["file_path"])),
        )
    Console().print(table)
