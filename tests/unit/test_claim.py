"""What is removed of a recording that failed or was cancelled, and what is not its own."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from actors.claim import own_uploads, remove_everything
from pipeline.model import Output, Recording, Status, Upload
from pipeline.staging import staging_prefix
from pipeline.stores.objects_memory import MemoryStore

NAME = "talks/abc"
OTHERS = [
    # Recordings whose names are below it, or begin alike.
    f"{NAME}/20260101T000000Z.mp4",
    f"{NAME}/20260101T000000Z/master.m3u8",
    f"{NAME}/20260101T000000Z/poster.jpg",
    f"{NAME}d.mp4",
    f"{NAME}d/master.m3u8",
    # What somebody has put there.
    f"{NAME}/notes.txt",
    f"{NAME}/other.mp4",
]
OWN = [
    f"{NAME}.mp4",
    f"{NAME}/master.m3u8",
    f"{NAME}/source.m3u8",
    f"{NAME}/source.init.mp4",
    f"{NAME}/half.mp4",
    f"{NAME}/poster.jpg",
]


@pytest.fixture
def store() -> MemoryStore:
    made = MemoryStore()
    made.ensure_bucket("vod")
    for key in (*OTHERS, *OWN):
        made.put("vod", key, b"1", "")
    return made


def a_recording(file_path: str | None = None) -> Recording:
    now = datetime.now(UTC)
    return Recording(
        id=uuid4(),
        stream_id="s",
        status=Status.FAILED,
        started_at=now,
        created_at=now,
        updated_at=now,
        object_name=NAME,
        file_path=file_path,
    )


def begun(store: MemoryStore, key: str, rendition: str, number: int) -> Upload:
    return Upload(
        key=key,
        upload_id=store.create_upload("vod", key, "video/mp4"),
        output=Output(rendition=rendition),
        number=number,
    )


def names(store: MemoryStore) -> set[str]:
    return {found.key for found in store.list("vod", "")}


def test_only_its_own_goes(store: MemoryStore) -> None:
    uploads = [
        begun(store, f"{NAME}.mp4", "source", 0),
        begun(store, f"{NAME}/half.mp4", "half", 1),
    ]
    unheard = store.create_upload("vod", f"{NAME}/half.mp4", "video/mp4")
    live = store.create_upload("vod", f"{NAME}/20260102T000000Z.mp4", "video/mp4")
    recording = a_recording()
    staged = staging_prefix(recording.id) + "x"
    store.put("vod", staged, b"1", "")
    assert unheard in {left.upload_id for left in own_uploads(store, "vod", NAME, uploads)}
    remove_everything(store, "vod", recording, uploads)
    assert names(store) == set(OTHERS)
    assert [left.upload_id for left in store.uploads("vod", "")] == [live]


def test_what_was_completed_before_stays(store: MemoryStore) -> None:
    uploads = [begun(store, f"{NAME}.mp4", "source", 0)]
    recording = a_recording(file_path=f"vod/{NAME}.mp4")
    store.put("vod", staging_prefix(recording.id) + "x", b"1", "")
    remove_everything(store, "vod", recording, uploads)
    assert names(store) == {*OTHERS, *OWN}
    assert list(store.uploads("vod", "")) == []
