"""``vodray status ID``."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import click

from serve_app.commands import _api
from serve_app.commands._errors import Failure

GAPS = 3

_FOR_PEOPLE: dict[str, Callable[[Any], str]] = {"duration": _api.clock, "file_size": _api.size}


@click.command(
    "status",
    epilog="""\b
Examples:
  vodray status e410066c-8d50-4e0f-965f-452af1814ffa
  vodray status e410066c-8d50-4e0f-965f-452af1814ffa --follow --json
""",
)
@click.argument("recording_id", metavar="ID")
@_api.url_option
@click.option("--follow", "-f", is_flag=True, help="Show every change until it is done.")
@_api.json_option
def command(recording_id: str, url: str | None, follow: bool, as_json: bool) -> None:
    """Show one recording.

    With --follow the exit code tells how the recording ended: 0 completed, 3 completed with gaps,
    1 failed. With --follow --json each change is one line of JSON.
    """
    client = _api.ApiClient(url)
    if follow:
        _follow(client, recording_id, as_json)
        return
    recording = client.get(f"/recording/{quote(recording_id, safe='')}")["recording"]
    if as_json:
        _api.print_json(recording)
    else:
        _print(recording)


def _print(recording: _api.Recording) -> None:
    if not _api.on_terminal():
        for field, value in _rows(recording):
            click.echo(f"{field}\t{_api.plain(value)}")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    for field, value in _rows(recording):
        if value is None:
            continue
        text = _api.plain(_FOR_PEOPLE.get(field, _api.plain)(value))
        style = _api.STATUS_STYLES.get(text, "") if field == "status" else ""
        grid.add_row(Text(field, style="dim"), Text(text, style=style))
    Console().print(grid)


def _rows(recording: _api.Recording) -> Iterator[tuple[str, Any]]:
    for field, value in recording.items():
        if field == "progress":
            yield "chunks", f"{value['chunks_done']}/{value['chunks_total']}"
        elif field == "gaps":
            for gap in value:
                yield "gap", f"{gap['start']:.3f} s + {gap['duration']:.3f} s: {gap['reason']}"
        elif field == "renditions":
            for each in value:
                yield "rendition", f"{each['name']} {each['codecs']} {each['file_path']}"
        else:
            yield field, value


def _follow(client: _api.ApiClient, recording_id: str, as_json: bool) -> None:
    last: _api.Recording = {}
    with _output(as_json) as show:
        for last in client.follow(quote(recording_id, safe="")):
            show(last)
    if last["status"] == "failed":
        raise Failure(f"recording {recording_id} failed: {last['error']}")
    if last["gaps"]:
        raise click.exceptions.Exit(GAPS)


@contextmanager
def _output(as_json: bool) -> Iterator[Callable[[_api.Recording], None]]:
    """How to show a state: a line of JSON, a line of text, or one line kept up to date."""
    if as_json:
        yield lambda recording: click.echo(json.dumps(recording, ensure_ascii=False))
    elif not _api.on_terminal():
        yield lambda recording: click.echo(_line(recording))
    else:
        from rich.console import Console
        from rich.text import Text

        console = Console()
        last = Text("waiting")
        with console.status(last) as spinner:

            def show(recording: _api.Recording) -> None:
                nonlocal last
                last = Text(_line(recording).expandtabs(2))
                spinner.update(last)

            yield show
        console.print(last)


def _line(recording: _api.Recording) -> str:
    progress = recording["progress"]
    words = (
        recording["status"],
        _api.clock(recording["duration"]),
        f"{progress['chunks_done']}/{progress['chunks_total']} chunks",
        recording["error"] or recording["file_path"],
    )
    return "\t".join(_api.plain(word) for word in words if word)
