"""INPUT of ``convert`` and ``inspect``: a path, an ``http(s)`` URL or ``s3://bucket/key``."""

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from serve_app.commands._errors import Failure

if TYPE_CHECKING:
    from pipeline.settings import Settings
    from pipeline.source import Presentation, Source


def open_input(input_ref: str, settings: "Settings") -> "tuple[Source, bool]":
    """The source, and whether it may still grow."""
    from pipeline.source import FileSource, WebRules, WebSource, open_source
    from pipeline.stores.connect import make_store

    scheme = urlsplit(input_ref).scheme
    if scheme in ("http", "https"):
        rules = WebRules(settings.allowed_source_hosts).plus(urlsplit(input_ref).hostname or "")
        return WebSource(input_ref, rules, settings.playlist_limits), True
    if scheme == "s3":
        bucket = input_ref.removeprefix("s3://").partition("/")[0]
        return open_source(
            input_ref,
            store=make_store(settings),
            source_bucket=bucket,
            allowed_hosts=settings.allowed_source_hosts,
            limits=settings.playlist_limits,
        ), True
    path = Path(input_ref)
    if not path.is_file():
        raise Failure(f"There is no playlist at {input_ref}")
    return FileSource(path, limits=settings.playlist_limits), False


def check_files(found: "Presentation") -> None:
    """Raise ``SourceError`` unless one of the segments of a local playlist is there."""
    from pipeline.errors import SourceForbidden, SourceMissing
    from pipeline.stores.objects_files import file_of

    problem: SourceForbidden | None = None
    for segment in found.playlist.segments:
        try:
            if file_of(found.source.resolve(segment.uri)).is_file():
                return
        except SourceForbidden as error:
            problem = error
    raise problem or SourceMissing(f"No segment of {found.source.ref} is there")


def ranges(numbers: "tuple[int, ...] | list[int]") -> str:
    """Media sequence numbers as people write them: ``3-5, 9``."""
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in found) or "-"
