"""``vodray inspect``: what is in a stream, what is wrong with it, what would become of it."""

import json
from typing import Any

import click

from serve_app.commands._errors import Failure
from serve_app.commands._input import open_input
from serve_app.commands._progress import ProgressLine

EXIT_WITH_GAPS = 3


@click.command(
    "inspect",
    epilog="""\b
Exit code: 0 it would be completed, 3 completed but media is missing (the gaps are listed),
1 it cannot be read or would fail, 2 usage.

\b
Examples:
  vodray inspect recording/stream.m3u8
  vodray inspect https://example.com/live/stream.m3u8 --segments
  vodray inspect s3://hls-streams/webinar/stream.m3u8 --json | jq .verdict
  vodray inspect stream.m3u8 --json | jq '.segments[] | select(.problems != [])'
""",
)
@click.argument("input_ref", metavar="INPUT")
@click.option("--segments", "all_segments", is_flag=True, help="Show every segment.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: docs/inspect.md describes it.")
def command(input_ref: str, all_segments: bool, as_json: bool) -> None:
    """Read a playlist and all its segments without converting them: what is in there, what is wrong
    with it, and what a recording of it would be.

    INPUT is a playlist's path, an http(s):// URL or s3://bucket/key (with MINIO_ENDPOINT and its
    keys set). It is read once, as it stands, also if it may still grow. Everything is done as
    `convert` does it, except that nothing is stored. Shown are renditions and codecs, encryption,
    jumps and pauses of the source's clock, how far sound is from pictures, the gaps that a
    recording would have and why, what is done about segments that cannot simply be copied, and the
    chunks that workers would get. Segments are shown if they have a problem, or all of them with
    --segments.
    """
    from pipeline.errors import SourceError

    try:
        found = _inspect(input_ref)
    except SourceError as error:
        if as_json:
            _print_json({"verdict": {"outcome": "failed", "reason": str(error)}})
        raise Failure(str(error)) from error
    if as_json:
        _print_json(found)
    else:
        from serve_app.commands._inspect_view import show

        show(input_ref, found, all_segments=all_segments)
    verdict = found["verdict"]
    if verdict["reason"] is not None:
        raise Failure(f"{input_ref} would fail: {verdict['reason']}")
    if verdict["gaps"]:
        raise click.exceptions.Exit(EXIT_WITH_GAPS)


def _inspect(input_ref: str) -> dict[str, Any]:
    from pipeline import logs
    from pipeline.inspection.inspect import inspect
    from pipeline.settings import load_settings

    settings = load_settings()
    if "log_level" not in settings.model_fields_set:
        settings = settings.model_copy(update={"log_level": "warning"})
    logs.configure(settings)
    source, _ = open_input(input_ref, settings)
    with ProgressLine(input_ref) as line:
        return inspect(
            source,
            settings,
            lambda done, total: line.count(done, total, f"{done} of {total} segments"),
        )


def _print_json(value: object) -> None:
    # ASCII: nothing that a stream names gets to a terminal as it is.
    click.echo(json.dumps(value, indent=2))
