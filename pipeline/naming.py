"""Names of results in the bucket, from the ``OBJECT_NAME`` template (contract sections 3 and 6)."""

import re
from collections.abc import Collection
from datetime import UTC

from pipeline.model import Output, Recording

# Of the main output's object, by profile.
MAIN_SUFFIXES = (".mp4", ".m4a")
# Beside those of renditions: see ``presentation``, ``storyboard`` and ``notes``.
_FIXED_STEM = re.compile(r"master|poster|recording|audio-\d+|storyboard(-\d+)?")
_UNSAFE = re.compile(r"[^A-Za-z0-9._=@+-]")


def object_names(template: str, recording: Recording) -> tuple[str, ...]:
    """Names to try in order: the template's, with the start time, with the recording's id.

    The last is this recording's alone.
    """
    started_at = recording.started_at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    values = {
        "stream_key": _safe(recording.stream_key or recording.stream_id),
        "stream_id": _safe(recording.stream_id),
        "recording_id": str(recording.id),
        "started_at": started_at,
    }
    name = template.format_map(values)
    later = name if "{started_at}" in template else f"{name}_{started_at}"
    own = name if "{recording_id}" in template else f"{later}_{recording.id}"
    return tuple(dict.fromkeys((name, later, own)))


def object_key(name: str, output: Output, number: int) -> str:
    """Of an output's object; the main one has number 0."""
    if number == 0:
        return name + output.name_suffix
    return f"{name}/{output.rendition}{output.name_suffix}"


def is_file_of(name: str, renditions: Collection[str]) -> bool:
    """Whether a file below a recording's name is one of those that are made of it."""
    stem = name.partition(".")[0]
    return "/" not in name and (stem in renditions or _FIXED_STEM.fullmatch(stem) is not None)


def _safe(text: str) -> str:
    """As part of an object's name: never a folder, never hidden."""
    return _UNSAFE.sub("_", text).lstrip(".") or "_"
