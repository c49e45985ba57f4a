"""``vodray profiles``: what can be made of a recording."""

import json
from collections.abc import Iterator
from typing import Any

import click

from serve_app.commands._input import open_input

Report = dict[str, Any]


@click.command(
    "profiles",
    epilog="""\b
Exit code: 0, 1 INPUT cannot be read, 2 usage or a profile that cannot be meant.

\b
Examples:
  vodray profiles
  vodray profiles https://example.com/live/stream.m3u8
  vodray profiles s3://hls-streams/webinar/stream.m3u8 --json | jq '.profiles[].outputs'
""",
)
@click.argument("input_ref", metavar="[INPUT]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: docs/profiles.md describes it.")
def command(input_ref: str | None, as_json: bool) -> None:
    """Show the profiles, and what each makes: its objects, their pictures and their sound.

    With INPUT, a playlist's path, an http(s):// URL or s3://bucket/key, its first segment is read:
    shown is what each profile would make of that stream, since nothing is enlarged, and sound that
    is good enough is copied. Your own profiles stand in the file that PROFILES_FILE names; PROFILE
    is the one for tasks that name none. Encoders that this machine lacks are named.
    """
    found = _describe(input_ref)
    if as_json:
        # ASCII: nothing that a stream names gets to a terminal as it is.
        click.echo(json.dumps(found, indent=2))
    else:
        for line in _lines(found):
            click.echo(line)


def _describe(input_ref: str | None) -> Report:
    from pipeline import logs
    from pipeline.inspection.forecast import describe_profiles, forecast
    from pipeline.settings import load_settings

    settings = load_settings()
    if input_ref is None:
        return describe_profiles(settings)
    if "log_level" not in settings.model_fields_set:
        settings = settings.model_copy(update={"log_level": "warning"})
    logs.configure(settings)
    source, _ = open_input(input_ref, settings)
    return forecast(source, settings)


def _lines(found: Report) -> Iterator[str]:
    source = found.get("source")
    if source is not None:
        yield f"The stream: {', '.join(_source(source))}"
    rows = {
        profile["profile"]: [_row(each, profile["sound"], source) for each in profile["outputs"]]
        for profile in found["profiles"]
    }
    columns = zip(*(row for several in rows.values() for row in several), strict=True)
    widths = [max(map(len, column)) for column in columns]
    for number, profile in enumerate(found["profiles"]):
        if number or source is not None:
            yield ""
        default = " (default)" if profile["is_default"] else ""
        description = f": {profile['description']}" if profile["description"] else ""
        yield f"{profile['profile']}{default}{description}"
        for row in rows[profile["profile"]]:
            cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
            yield f"  {'  '.join(cells)}".rstrip()
        if profile["problem"]:
            yield f"  cannot be made: {profile['problem']}"


def _source(source: Report) -> Iterator[str]:
    pictures, sound = source["pictures"], source["sound"]
    yield from source["streams"]
    if pictures:
        yield f"{pictures['width']}x{pictures['height']}"
        yield f"{_rate(pictures['frame_rate'])} pictures/s"
    if sound:
        yield f"sound of {sound['bit_rate'] / 1000:.0f} kbit/s, {_form(sound)}"


def _row(output: Report, sound: Report | None, source: Report | None) -> tuple[str, ...]:
    """Object, size, pictures, sound."""
    return (output["object"], *_pictures(output["pictures"], source), _sound(output, sound, source))


def _pictures(pictures: Report | str | None, source: Report | None) -> tuple[str, str]:
    if pictures is None:
        return "-", "no pictures"
    if isinstance(pictures, str):
        if source is None:
            return "the source's", "as they are"
        return _size(source["pictures"]), _kept("as they are", source["pictures"])
    words = [f"{pictures['codec']} ({pictures['encoder']})"]
    if pictures["frame_rate"]:
        words.append(f"{_rate(pictures['frame_rate'])} pictures/s")
    if pictures["max_rate"]:
        words.append(f"up to {pictures['max_rate'] / 1000:g} kbit/s")
    return _size(pictures), ", ".join(words)


def _kept(as_is: str, stream: Report | None) -> str:
    """What is left alone is encoded all the same if MP4 does not take it."""
    if stream is None or stream["codec"] == stream["kept_as"]:
        return as_is
    return f"{stream['kept_as']}, since MP4 does not take {stream['codec']}"


def _size(pictures: Report) -> str:
    if pictures["width"]:
        return f"{pictures['width']}x{pictures['height']}"
    return f"{pictures['height']} lines" if pictures["height"] else "the source's"


def _rate(written: str) -> str:
    from fractions import Fraction

    return f"{float(Fraction(written)):.5g}"


def _sound(output: Report, sound: Report | None, source: Report | None) -> str:
    if not output["sound"]:
        return "no sound"
    if sound is None:
        return f"sound {_kept('as it is', source['sound'] if source else None)}"
    rate = f"{sound['bit_rate'] / 1000:g} kbit/s"
    loudness = "" if sound["loudness"] is None else f", at {sound['loudness']:g} LUFS"
    if source is not None:
        return f"sound {sound['codec']}, {rate}, {_form(sound)}{loudness}"
    if sound["keep"]:
        return f"{sound['codec']} as it is, other sound {sound['codec']}, {rate}, {_form(sound)}"
    return f"sound {sound['codec']}, up to {rate}, {_form(sound)}{loudness}"


def _form(sound: Report) -> str:
    channels = {1: "mono", 2: "stereo"}.get(sound["channels"], f"{sound['channels']} channels")
    return f"{sound['rate']} Hz {channels}"
