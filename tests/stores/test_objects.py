"""What every ``ObjectStore`` does: one contract, held to S3, memory and a folder alike."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.errors import (
    BucketMissing,
    MediaInvalid,
    ObjectMissing,
    SourceMissing,
    StoreError,
)
from pipeline.model import ByteRange, Part
from pipeline.stores.objects import ObjectStore, OpenUpload
from pipeline.stores.objects_folder import FolderStore
from pipeline.stores.objects_memory import MemoryStore
from pipeline.stores.objects_s3 import S3Store
from pipeline.transfer import TransferLimits, fetch, store

LIMITS = TransferLimits(timeout_s=10, attempts=2, retry_delay_s=0.01, max_bytes=64 << 20)
PART = 5 << 20  # what S3 asks of every part but the last
NAME = "d1eb2fe8/ä stream+1.mp4"


@pytest.fixture(params=["s3", "memory", "folder"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "memory":
        return MemoryStore()
    if request.param == "folder":
        return FolderStore(tmp_path / "objects")
    s3 = request.getfixturevalue("s3")
    return S3Store(s3.endpoint, s3.access_key, s3.secret_key, secure=False, timeout_s=10)


@pytest.fixture
def bucket(objects: ObjectStore, new_bucket_name: Callable[[], str]) -> str:
    name = new_bucket_name()
    objects.ensure_bucket(name)
    return name


def keys(objects: ObjectStore, bucket: str, prefix: str = "") -> list[str]:
    return sorted(info.key for info in objects.list(bucket, prefix))


def test_a_bucket_is_made_once(objects: ObjectStore, new_bucket_name: Callable[[], str]) -> None:
    name = new_bucket_name()
    with pytest.raises(BucketMissing):
        objects.check_bucket(name)
    objects.ensure_bucket(name)
    objects.put(name, "kept", b"x", "text/plain")
    objects.ensure_bucket(name)
    objects.check_bucket(name)
    assert keys(objects, name) == ["kept"]


def test_a_missing_bucket_is_told_from_a_missing_object(objects: ObjectStore, bucket: str) -> None:
    with pytest.raises(ObjectMissing):
        objects.get(bucket, "nothing", max_bytes=10)
    with pytest.raises(ObjectMissing):
        objects.stat(bucket, "nothing")
    with pytest.raises(BucketMissing):
        objects.get("no-such-bucket", "nothing", max_bytes=10)
    with pytest.raises(BucketMissing):
        objects.put("no-such-bucket", "nothing", b"x", "text/plain")
    with pytest.raises(BucketMissing):
        list(objects.list("no-such-bucket", ""))
    with pytest.raises(BucketMissing):
        objects.create_upload("no-such-bucket", "nothing", "video/mp4")


@pytest.mark.parametrize("name", ["a/b", "..", ".", "UPPER_CASE/..", "x\0y"])
def test_what_cannot_be_a_bucket_is_missing(objects: ObjectStore, name: str) -> None:
    with pytest.raises(BucketMissing):
        objects.check_bucket(name)


def test_put_get_stat_agree(objects: ObjectStore, bucket: str) -> None:
    put = objects.put(bucket, NAME, b"0123456789", "video/mp4")
    there = objects.stat(bucket, NAME)
    assert (there.key, there.size_bytes, there.etag) == (NAME, 10, put.etag)
    assert there.etag
    assert '"' not in there.etag
    assert there.last_modified is not None
    assert there.last_modified.tzinfo is not None
    assert objects.get(bucket, NAME, max_bytes=10) == b"0123456789"
    objects.put(bucket, NAME, b"new", "video/mp4")
    assert objects.get(bucket, NAME, max_bytes=10) == b"new"
    assert objects.stat(bucket, NAME).etag != put.etag


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        (0, 4, b"0123"),
        (3, 4, b"3456"),
        (3, None, b"3456789"),
        (8, 10, b"89"),
        (10, 1, b""),
        (99, None, b""),
        (2, 0, b""),
    ],
)
def test_ranges(
    objects: ObjectStore, bucket: str, offset: int, length: int | None, expected: bytes
) -> None:
    objects.put(bucket, "digits", b"0123456789", "text/plain")
    assert objects.get(bucket, "digits", offset=offset, length=length, max_bytes=10) == expected


def test_more_than_the_bound_is_refused(objects: ObjectStore, bucket: str) -> None:
    objects.put(bucket, "digits", b"0123456789", "text/plain")
    with pytest.raises(MediaInvalid, match="limit of 9 bytes"):
        objects.get(bucket, "digits", max_bytes=9)
    assert objects.get(bucket, "digits", length=9, max_bytes=9) == b"012345678"


def test_large_objects_come_back_whole(objects: ObjectStore, bucket: str) -> None:
    data = bytes(range(256)) * (6 << 12)
    objects.put(bucket, "large", data, "video/mp4")
    assert objects.get(bucket, "large", max_bytes=len(data)) == data


def test_an_empty_object(objects: ObjectStore, bucket: str) -> None:
    objects.put(bucket, "empty", b"", "text/plain")
    assert objects.stat(bucket, "empty").size_bytes == 0
    assert objects.get(bucket, "empty", max_bytes=10) == b""


def test_list_by_prefix(objects: ObjectStore, bucket: str) -> None:
    for key in ("b/2.ts", "b/10.ts", "a", "b-side", "b/c/d", NAME):
        objects.put(bucket, key, key.encode(), "text/plain")
    assert keys(objects, bucket) == ["a", "b-side", "b/10.ts", "b/2.ts", "b/c/d", NAME]
    assert keys(objects, bucket, "b/") == ["b/10.ts", "b/2.ts", "b/c/d"]
    assert keys(objects, bucket, "b/1") == ["b/10.ts"]
    assert keys(objects, bucket, "nothing") == []
    (info,) = objects.list(bucket, NAME)
    assert info == objects.stat(bucket, NAME)


def test_delete_takes_only_what_is_named(objects: ObjectStore, bucket: str) -> None:
    for key in ("a/1", "a/2", "b"):
        objects.put(bucket, key, b"x", "text/plain")
    objects.delete(bucket, ["a/1", "never/there", "b"])
    assert keys(objects, bucket) == ["a/2"]
    objects.delete(bucket, [])
    objects.delete(bucket, ["a/2"])
    assert keys(objects, bucket) == []


def upload_parts(
    objects: ObjectStore, bucket: str, key: str, upload_id: str, pieces: dict[int, bytes]
) -> list[Part]:
    """In the order of ``pieces``: odd ones with the store's keys, even ones by presigned URL."""
    made = []
    for number, data in pieces.items():
        if number % 2:
            made.append(objects.put_part(bucket, key, upload_id, number, data))
        else:
            url = objects.presign_put_part(bucket, key, upload_id, number, expires_s=60)
            half = len(data) // 2
            etag = store(url, [data[:half], memoryview(data)[half:]], limits=LIMITS)
            made.append(Part(number=number, etag=etag, size_bytes=len(data)))
    return made


@pytest.fixture
def pieces() -> dict[int, bytes]:
    """Out of order, with holes, part 1 last, the last one short: as recordings upload them."""
    return {7: b"g" * PART, 4: b"d" * PART, 12: b"z" * 100, 1: b"a" * (PART + 1)}


def test_parts_come_in_any_order(
    objects: ObjectStore, bucket: str, pieces: dict[int, bytes]
) -> None:
    upload_id = objects.create_upload(bucket, NAME, "video/mp4")
    made = upload_parts(objects, bucket, NAME, upload_id, pieces)
    in_order = tuple(sorted(made, key=lambda part: part.number))
    assert objects.parts(bucket, NAME, upload_id) == in_order
    assert keys(objects, bucket) == []

    info = objects.complete_upload(bucket, NAME, upload_id, made)

    expected = b"".join(pieces[number] for number in sorted(pieces))
    assert objects.get(bucket, NAME, max_bytes=len(expected)) == expected
    assert info == objects.stat(bucket, NAME)
    assert info.size_bytes == len(expected)
    assert keys(objects, bucket) == [NAME]
    assert objects.uploads(bucket, "") == ()
    with pytest.raises(ObjectMissing):
        objects.parts(bucket, NAME, upload_id)


def test_completing_twice_is_completing_once(objects: ObjectStore, bucket: str) -> None:
    upload_id = objects.create_upload(bucket, "twice", "video/mp4")
    parts = [objects.put_part(bucket, "twice", upload_id, 1, b"only part")]
    first = objects.complete_upload(bucket, "twice", upload_id, parts)
    assert objects.complete_upload(bucket, "twice", upload_id, parts) == first


def test_completing_what_is_another_object_fails(objects: ObjectStore, bucket: str) -> None:
    objects.put(bucket, "other", b"an older object", "video/mp4")
    upload_id = objects.create_upload(bucket, "other", "video/mp4")
    parts = [objects.put_part(bucket, "other", upload_id, 1, b"only part")]
    objects.abort_upload(bucket, "other", upload_id)
    with pytest.raises(ObjectMissing):
        objects.complete_upload(bucket, "other", upload_id, parts)
    assert objects.get(bucket, "other", max_bytes=99) == b"an older object"


def test_a_part_that_is_not_there_cannot_be_completed(objects: ObjectStore, bucket: str) -> None:
    upload_id = objects.create_upload(bucket, "x", "video/mp4")
    part = objects.put_part(bucket, "x", upload_id, 1, b"first")
    ghost = Part(number=2, etag=part.etag, size_bytes=5)
    with pytest.raises(StoreError):
        objects.complete_upload(bucket, "x", upload_id, [part, ghost])
    with pytest.raises(ObjectMissing):
        objects.stat(bucket, "x")


def test_a_part_may_be_sent_again(objects: ObjectStore, bucket: str) -> None:
    upload_id = objects.create_upload(bucket, "again", "video/mp4")
    objects.put_part(bucket, "again", upload_id, 1, b"first try, broken")
    last = objects.put_part(bucket, "again", upload_id, 1, b"second try")
    assert last in objects.parts(bucket, "again", upload_id)
    objects.complete_upload(bucket, "again", upload_id, [last])
    assert objects.get(bucket, "again", max_bytes=99) == b"second try"


def test_abort_leaves_nothing(objects: ObjectStore, bucket: str) -> None:
    upload_id = objects.create_upload(bucket, "x/gone.mp4", "video/mp4")
    url = objects.presign_put_part(bucket, "x/gone.mp4", upload_id, 2, expires_s=60)
    objects.put_part(bucket, "x/gone.mp4", upload_id, 1, b"part")
    objects.abort_upload(bucket, "x/gone.mp4", upload_id)
    objects.abort_upload(bucket, "x/gone.mp4", upload_id)
    assert objects.uploads(bucket, "") == ()
    with pytest.raises(ObjectMissing):
        objects.parts(bucket, "x/gone.mp4", upload_id)
    with pytest.raises(ObjectMissing):
        objects.put_part(bucket, "x/gone.mp4", upload_id, 1, b"part")
    with pytest.raises(ObjectMissing):
        store(url, b"late part", limits=LIMITS)
    assert keys(objects, bucket) == []


def test_open_uploads_are_listed(objects: ObjectStore, bucket: str) -> None:
    made = {
        OpenUpload(key=key, upload_id=objects.create_upload(bucket, key, "video/mp4"))
        for key in ("rec/720p.mp4", "rec/480p.mp4", "record.mp4", NAME, NAME)
    }
    assert set(objects.uploads(bucket, "")) == made
    assert {u.key for u in objects.uploads(bucket, "rec/")} == {"rec/720p.mp4", "rec/480p.mp4"}
    assert len([u for u in objects.uploads(bucket, NAME) if u.key == NAME]) == 2
    assert objects.uploads(bucket, "other") == ()


def test_presigned_get_and_put(objects: ObjectStore, bucket: str) -> None:
    etag = store(objects.presign_put(bucket, NAME, expires_s=60), b"0123456789", limits=LIMITS)
    assert objects.stat(bucket, NAME).etag == etag
    url = objects.presign_get(bucket, NAME, expires_s=60)
    assert fetch(url, byte_range=None, limits=LIMITS) == b"0123456789"
    assert fetch(url, byte_range=ByteRange(offset=3, length=4), limits=LIMITS) == b"3456"
    missing = objects.presign_get(bucket, "nothing", expires_s=60)
    with pytest.raises(SourceMissing):
        fetch(missing, byte_range=None, limits=LIMITS)
    small = TransferLimits(timeout_s=5, attempts=1, retry_delay_s=0, max_bytes=9)
    with pytest.raises(MediaInvalid):
        fetch(url, byte_range=None, limits=small)


# --- what only a folder can get wrong ---------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[FolderStore]:
    store = FolderStore(tmp_path / "root")
    store.ensure_bucket("")
    yield store
    left = [path.name for path in (tmp_path / "root").rglob("*") if ".vodray" in path.name]
    assert left == []


@pytest.mark.parametrize(
    "key", ["../out", "a/../../out", "/etc/passwd", "a//b", ".", "", "a/./b", "link/x", "x\0y",
            ".vodray-uploads/x"]
)  # fmt: skip
def test_keys_stay_in_the_folder(folder: FolderStore, tmp_path: Path, key: str) -> None:
    (tmp_path / "root" / "link").symlink_to(tmp_path)
    (tmp_path / "x").write_bytes(b"outside")
    with pytest.raises(StoreError):
        folder.put("", key, b"x", "text/plain")
    with pytest.raises(StoreError):
        folder.get("", key, max_bytes=100)
    with pytest.raises(StoreError):
        folder.create_upload("", key, "text/plain")
    with pytest.raises(StoreError):
        folder.presign_put("", key, expires_s=1)
    with pytest.raises(StoreError):
        folder.delete("", [key])
    assert (tmp_path / "x").read_bytes() == b"outside"
    assert not (tmp_path / "out").exists()


def test_an_upload_id_is_no_path(folder: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "target").write_text("\nvideo.mp4")
    with pytest.raises(ObjectMissing):
        folder.put_part("", "video.mp4", "../..", 1, b"x")


def test_the_folder_itself_as_bucket(folder: FolderStore, tmp_path: Path) -> None:
    upload_id = folder.create_upload("", "out.mp4", "video/mp4")
    part = folder.put_part("", "out.mp4", upload_id, 1, b"media")
    assert keys(folder, "") == []
    folder.complete_upload("", "out.mp4", upload_id, [part])
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["out.mp4"]
    assert keys(folder, "") == ["out.mp4"]


def test_a_part_that_changed_is_not_completed(folder: FolderStore) -> None:
    upload_id = folder.create_upload("", "out.mp4", "video/mp4")
    part = folder.put_part("", "out.mp4", upload_id, 1, b"media")
    folder.put_part("", "out.mp4", upload_id, 1, b"other")
    with pytest.raises(StoreError, match="Part 1"):
        folder.complete_upload("", "out.mp4", upload_id, [part])
    folder.abort_upload("", "out.mp4", upload_id)
