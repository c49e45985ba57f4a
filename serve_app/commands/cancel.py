"""``vodray cancel ID``."""

import click

from serve_app.commands import _api


@click.command(
    "cancel",
    epilog="""\b
Examples:
  vodray cancel e410066c-8d50-4e0f-965f-452af1814ffa
""",
)
@click.argument("recording_id", metavar="ID")
@_api.url_option
@_api.json_option
def command(recording_id: str, url: str | None, as_json: bool) -> None:
    """End a recording that goes on, and keep nothing of it."""
    _api.print_changed(_api.ApiClient(url).act(recording_id, "cancel"), as_json)
