"""``vodray retry ID``."""

import click

from serve_app.commands import _api


@click.command(
    "retry",
    epilog="""\b
Examples:
  vodray retry e410066c-8d50-4e0f-965f-452af1814ffa
""",
)
@click.argument("recording_id", metavar="ID")
@_api.url_option
@_api.json_option
def command(recording_id: str, url: str | None, as_json: bool) -> None:
    """Begin a failed recording anew; one that goes on goes on."""
    _api.print_changed(_api.ApiClient(url).act(recording_id, "retry"), as_json)
