"""``FolderStore``: a folder of the local file system as object store, for work without services.

A bucket is a sub folder, "" the folder itself; a key is a path below it and never leaves it.
Unfinished uploads are hidden folders of part files in ``.vodray-uploads``, so that completing
stays within one file system; presigned URLs are ``file`` URLs, which do not expire.
"""

import contextlib
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.errors import BucketMissing, ObjectMissing, StoreDenied, StoreError
from pipeline.model import Part
from pipeline.stores.objects import ObjectInfo, OpenUpload
from pipeline.stores.objects_files import (
    HIDDEN,
    UPLOADS,
    describe,
    describe_part,
    join,
    part_name,
    read,
    remove_empty,
    store_errors,
    walk,
    write,
)

_TARGET = "target"  # file in an upload's folder: bucket and key, one a line
_UPLOAD_ID = re.compile(r"[0-9a-f]{32}")


class FolderStore:
    """Objects as files below ``root``; see ``ObjectStore`` for what the methods do."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def ensure_bucket(self, bucket: str) -> None:
        with store_errors(bucket):
            self._bucket(bucket).mkdir(parents=True, exist_ok=True)

    def check_bucket(self, bucket: str) -> None:
        self._existing(bucket)

    def stat(self, bucket: str, key: str) -> ObjectInfo:
        path = self._path(bucket, key)
        with store_errors(f"{bucket}/{key}"):
            return describe(key, path.stat())

    def get(
        self, bucket: str, key: str, *, offset: int = 0, length: int | None = None, max_bytes: int
    ) -> bytes:
        path = self._path(bucket, key)
        with store_errors(f"{bucket}/{key}"):
            return read(path, offset, length, max_bytes)

    def put(self, bucket: str, key: str, data: bytes, content_type: str) -> ObjectInfo:  # noqa: ARG002
        path = self._path(bucket, key)
        with store_errors(f"{bucket}/{key}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, [data])
            return describe(key, path.stat())

    def list(self, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
        base = self._existing(bucket)
        with store_errors(bucket):
            found = [describe(key, path.stat()) for key, path in walk(base, prefix)]
        return iter(sorted(found, key=lambda info: info.key))

    def delete(self, bucket: str, keys: Sequence[str]) -> None:
        base = self._existing(bucket)
        for key in keys:
            path = self._path(bucket, key)
            with store_errors(f"{bucket}/{key}"):
                path.unlink(missing_ok=True)
            remove_empty(path.parent, base)

    def create_upload(self, bucket: str, key: str, content_type: str) -> str:  # noqa: ARG002
        self._path(bucket, key)
        upload_id = uuid.uuid4().hex
        folder = self._root / UPLOADS / upload_id
        with store_errors(f"{bucket}/{key}"):
            folder.mkdir(parents=True)
            (folder / _TARGET).write_text(f"{bucket}\n{key}", encoding="utf-8")
        return upload_id

    def put_part(self, bucket: str, key: str, upload_id: str, number: int, data: bytes) -> Part:
        path = self._upload(bucket, key, upload_id) / part_name(number)
        with store_errors(f"{bucket}/{key}"):
            return Part(number=number, etag=write(path, [data]), size_bytes=len(data))

    def parts(self, bucket: str, key: str, upload_id: str) -> tuple[Part, ...]:
        folder = self._upload(bucket, key, upload_id)
        with store_errors(f"{bucket}/{key}"):
            return tuple(describe_part(path) for path in sorted(folder.glob("[0-9]*")))

    def complete_upload(
        self, bucket: str, key: str, upload_id: str, parts: Sequence[Part]
    ) -> ObjectInfo:
        size = sum(part.size_bytes for part in parts)
        path = self._path(bucket, key)
        try:
            folder = self._upload(bucket, key, upload_id)
        except ObjectMissing:
            done = self.stat(bucket, key)
            if done.size_bytes != size:
                raise
            return done
        with store_errors(f"{bucket}/{key}"):
            join(folder, parts, path)
            info = describe(key, path.stat())
        if info.size_bytes != size:
            raise StoreError(f"{path} has {info.size_bytes} bytes where its parts have {size}")
        self._drop(folder)
        return info

    def abort_upload(self, bucket: str, key: str, upload_id: str) -> None:
        with contextlib.suppress(ObjectMissing):
            self._drop(self._upload(bucket, key, upload_id))

    def uploads(self, bucket: str, prefix: str) -> tuple[OpenUpload, ...]:
        self._existing(bucket)
        found = []
        for target in sorted((self._root / UPLOADS).glob(f"*/{_TARGET}")):
            try:
                of_bucket, _, key = target.read_text(encoding="utf-8").partition("\n")
            except FileNotFoundError:
                continue  # completed or aborted since it was listed
            if of_bucket == bucket and key.startswith(prefix):
                found.append(OpenUpload(key=key, upload_id=target.parent.name))
        return tuple(found)

    def presign_get(self, bucket: str, key: str, *, expires_s: int) -> str:  # noqa: ARG002
        return self._path(bucket, key).as_uri()

    def presign_put(self, bucket: str, key: str, *, expires_s: int) -> str:  # noqa: ARG002
        return self._path(bucket, key).as_uri()

    def presign_put_part(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        number: int,
        *,
        expires_s: int,  # noqa: ARG002
    ) -> str:
        return (self._upload(bucket, key, upload_id) / part_name(number)).as_uri()

    # --- paths -------------------------------------------------------------------------------

    def _bucket(self, bucket: str) -> Path:
        if bucket and ("/" in bucket or "\0" in bucket or bucket.startswith(".")):
            raise BucketMissing(f"{bucket!r} cannot be a bucket's name")
        return self._root / bucket

    def _existing(self, bucket: str) -> Path:
        folder = self._bucket(bucket)
        if not folder.is_dir():
            raise BucketMissing(f"There is no folder {folder}")
        return folder

    def _path(self, bucket: str, key: str) -> Path:
        """The object's file, with links resolved, certain to lie in its bucket."""
        base = self._existing(bucket)
        names = key.split("/")
        plain = all(n not in ("", ".", "..") and not n.startswith(HIDDEN) for n in names)
        path = (base / key).resolve() if plain and "\0" not in key else base
        if path == base or not path.is_relative_to(base.resolve()):
            raise StoreDenied(f"{key!r} cannot be an object's name below {base}")
        return path

    def _upload(self, bucket: str, key: str, upload_id: str) -> Path:
        folder = self._root / UPLOADS / upload_id
        target = folder / _TARGET
        if _UPLOAD_ID.fullmatch(upload_id) and target.is_file():
            with store_errors(f"{bucket}/{key}"):
                if target.read_text(encoding="utf-8") == f"{bucket}\n{key}":
                    return folder
        raise ObjectMissing(f"There is no such upload of {bucket}/{key}")

    def _drop(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        remove_empty(folder.parent, self._root)
