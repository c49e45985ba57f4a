"""What the results bucket says of each completed recording, so that its row can be made anew from
the bucket alone: ``{name}/recording.json``.

Neither the stream's key nor where the stream was is in it: where results are not named after the
key, whoever may read them must not learn it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from pipeline.errors import MediaInvalid
from pipeline.model import Recording, Status
from pipeline.results import is_result_of

FILE = "recording.json"
CONTENT_TYPE = "application/json"
MAX_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Note:
    format: Literal["vodray-recording"] = "vodray-recording"
    version: Literal[1] = 1
    recording: Recording
    report: dict[str, Any]


_NOTE = TypeAdapter(_Note)


def note_key(name: str) -> str:
    return f"{name}/{FILE}"


def write_note(recording: Recording, report: Mapping[str, Any]) -> bytes:
    """Of a completed one."""
    told = replace(recording, stream_key=None, source=None, resumable=False)
    note = _Note(
        recording=told, report={name: value for name, value in report.items() if name != "source"}
    )
    return json.dumps(_NOTE.dump_python(note, mode="json")).encode()


def read_note(data: bytes, key: str, bucket: str) -> tuple[Recording, dict[str, Any]]:
    """The recording that an object with this key tells of, and its report. Its files are in
    ``bucket``, whatever that was called before. Raises ``MediaInvalid``.

    Whoever may write into the bucket can say anything here: only what lies beside it is believed.
    """
    try:
        note = _NOTE.validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise MediaInvalid(
            f"{bucket}/{key} tells of no recording: {place}: {first['msg']}"
        ) from error
    told, name = note.recording, key.removesuffix(f"/{FILE}")
    recording = replace(
        told,
        file_path=_moved(told.file_path, bucket),
        thumbnail_path=_moved(told.thumbnail_path, bucket),
        renditions=tuple(
            replace(each, file_path=_moved(each.file_path, bucket) or "")
            for each in told.renditions
        ),
        video_id=None,
        publishing=False,
        deleted_at=None,
    )
    is_completed = recording.status is Status.COMPLETED and recording.file_path is not None
    if not is_completed or recording.object_name != name:
        raise MediaInvalid(f"{bucket}/{key} tells of another recording than the one beside it")
    renditions = [each.name for each in recording.renditions]
    paths = (
        recording.file_path,
        recording.thumbnail_path,
        *(r.file_path for r in recording.renditions),
    )
    for path in paths:
        own = path is None or is_result_of(path.removeprefix(f"{bucket}/"), name, renditions)
        if not own:
            raise MediaInvalid(f"{bucket}/{key} names a file that is not beside it")
    return recording, note.report


def _moved(path: str | None, bucket: str) -> str | None:
    return path and f"{bucket}/{path.partition('/')[2]}"
