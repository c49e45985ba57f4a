"""What the bucket says of a recording is read back as it was, and believed only so far."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from pipeline.errors import MediaInvalid
from pipeline.model import EndReason, Gap, Progress, Recording, Rendition, Status
from pipeline.notes import note_key, read_note, write_note
from pipeline.results import is_result_of, possible_names

AT = datetime(2025, 10, 5, 18, 0, 0, 250_000, tzinfo=UTC)
RECORDING = Recording(
    id=uuid4(),
    stream_id="xyz-stream-id",
    stream_key="secret",
    status=Status.COMPLETED,
    started_at=AT,
    created_at=AT,
    updated_at=AT,
    user_id="u1",
    title="Ünïcode \ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
    video_id=uuid4(),
    file_path="recordings/folder/talk.mp4",
    thumbnail_path="recordings/folder/talk/poster.jpg",
    duration=1860,
    file_size=524_288_000,
    completed_at=AT,
    source="s3://hls-streams/secret/stream.m3u8",
    ended_at=AT,
    end_reason=EndReason.ENDLIST,
    last_start_at=AT,
    publishing=True,
    resumable=True,
    object_name="folder/talk",
    fingerprint="f" * 64,
    progress=Progress(segments=900, chunks_done=3, chunks_total=3, seconds=1859.96),
    gaps=(Gap(start_s=1.5, duration_s=2, reason="404", segments=(3,), wall_clock=AT),),
    renditions=(
        Rendition(
            name="source",
            file_path="recordings/folder/talk.mp4",
            codecs="avc1.64001f,mp4a.40.2",
            bandwidth=3_000_000,
            average_bandwidth=2_500_000,
            width=1280,
            height=720,
            frame_rate=25.0,
        ),
        Rendition(
            name="360p",
            file_path="recordings/folder/talk/360p.mp4",
            codecs="avc1.64001f,mp4a.40.2",
            bandwidth=1,
            average_bandwidth=1,
        ),
    ),
    keep=True,
)
REPORT = {"verified": True, "frames_in": 46500, "timings_s": {"total": 1.5}}
KEY = note_key("folder/talk")


def test_it_is_read_back_but_for_what_publishes_and_what_is_elsewhere() -> None:
    data = write_note(RECORDING, {**REPORT, "source": RECORDING.source})
    assert b"secret" not in data
    assert b"hls-streams" not in data
    recording, report = read_note(data, KEY, "recordings")
    assert report == REPORT
    assert recording == replace(
        RECORDING,
        stream_key=None,
        source=None,
        video_id=None,
        publishing=False,
        resumable=False,
    )


def test_a_bucket_may_have_been_called_otherwise() -> None:
    recording, _ = read_note(write_note(RECORDING, REPORT), KEY, "other")
    assert recording.file_path == "other/folder/talk.mp4"
    assert recording.thumbnail_path == "other/folder/talk/poster.jpg"
    assert [r.file_path for r in recording.renditions] == [
        "other/folder/talk.mp4",
        "other/folder/talk/360p.mp4",
    ]


HOSTILE: dict[str, dict[str, Any]] = {
    "another name": {"object_name": "folder/other"},
    "another's file": {"file_path": "recordings/folder/other.mp4"},
    "no file": {"file_path": None},
    "another's poster": {"thumbnail_path": "recordings/other/poster.jpg"},
    "out of the folder": {"thumbnail_path": "recordings/folder/talk/../x/poster.jpg"},
    "not completed": {"status": "recording"},
    "no status": {"status": "x"},
    "no id": {"id": "x"},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_cannot_be_meant_is_refused(case: str) -> None:
    told = json.loads(write_note(RECORDING, REPORT))
    told["recording"] |= HOSTILE[case]
    with pytest.raises(MediaInvalid, match=KEY):
        read_note(json.dumps(told).encode(), KEY, "recordings")


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"format":"x"}', b"null"])
def test_what_is_no_note_is_refused(data: bytes) -> None:
    with pytest.raises(MediaInvalid, match="tells of no recording"):
        read_note(data, KEY, "recordings")


def test_a_note_of_a_later_format_is_refused() -> None:
    told = json.loads(write_note(RECORDING, REPORT)) | {"version": 2}
    with pytest.raises(MediaInvalid, match="version"):
        read_note(json.dumps(told).encode(), KEY, "recordings")


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("talk.mp4", ["talk"]),
        ("a/talk.m4a", ["a/talk", "a"]),
        ("a/talk/poster.jpg", ["a/talk"]),
        ("notes.txt", []),
    ],
)
def test_whose_an_object_may_be(key: str, names: list[str]) -> None:
    assert list(possible_names(key)) == names


@pytest.mark.parametrize(
    ("key", "is_ours"),
    [
        ("talk.mp4", True),
        ("talk/recording.json", True),
        ("talk/source.m3u8", True),
        ("talk/source.keyframes.m3u8", True),
        ("talk/holiday.mp4", False),
        ("talk/notes.txt", False),
        ("talk/deeper/poster.jpg", False),
        ("talking.mp4", False),
    ],
)
def test_which_objects_are_a_recordings(key: str, is_ours: bool) -> None:
    assert is_result_of(key, "talk", ["source"]) is is_ours
