"""``MemoryStore``: the in-memory twin of an S3 store, for tests.

Its presigned URLs are ``memory://<store-id>/...`` and mean something in this process only.
"""

import hashlib
import itertools
import threading
import weakref
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from time import time
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from typing_extensions import Buffer

from pipeline.errors import (
    BucketMissing,
    MediaInvalid,
    ObjectMissing,
    SourceForbidden,
    SourceMissing,
    StoreDenied,
    StoreError,
)
from pipeline.model import Part
from pipeline.stores.objects import ObjectInfo, OpenUpload

_stores: "weakref.WeakValueDictionary[str, MemoryStore]" = weakref.WeakValueDictionary()
_ids = itertools.count(1)


class _Upload:
    def __init__(self, bucket: str, key: str) -> None:
        self.bucket = bucket
        self.key = key
        self.parts: dict[int, bytes] = {}


class MemoryStore:
    """Buckets in a dictionary; see ``ObjectStore`` for what the methods do."""

    def __init__(self) -> None:
        self._id = f"store-{next(_ids)}"
        self._lock = threading.RLock()
        self._buckets: dict[str, dict[str, tuple[bytes, ObjectInfo]]] = {}
        self._uploads: dict[str, _Upload] = {}
        _stores[self._id] = self

    def ensure_bucket(self, bucket: str) -> None:
        with self._lock:
            self._buckets.setdefault(bucket, {})

    def check_bucket(self, bucket: str) -> None:
        with self._lock:
            self._objects(bucket)

    def stat(self, bucket: str, key: str) -> ObjectInfo:
        return self._find(bucket, key)[1]

    def get(
        self, bucket: str, key: str, *, offset: int = 0, length: int | None = None, max_bytes: int
    ) -> bytes:
        whole = self._find(bucket, key)[0]
        data = whole[offset:] if length is None else whole[offset : offset + length]
        if len(data) > max_bytes:
            raise MediaInvalid(f"{bucket}/{key} is larger than the limit of {max_bytes} bytes")
        return data

    def put(self, bucket: str, key: str, data: bytes, content_type: str) -> ObjectInfo:  # noqa: ARG002
        return self._keep(bucket, key, data, _md5(data))

    def list(self, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
        with self._lock:
            objects = self._objects(bucket)
            return iter([objects[key][1] for key in sorted(objects) if key.startswith(prefix)])

    def delete(self, bucket: str, keys: Sequence[str]) -> None:
        with self._lock:
            for key in keys:
                self._objects(bucket).pop(key, None)

    def create_upload(self, bucket: str, key: str, content_type: str) -> str:  # noqa: ARG002
        with self._lock:
            self._objects(bucket)
            upload_id = f"upload-{next(_ids)}"
            self._uploads[upload_id] = _Upload(bucket, key)
            return upload_id

    def put_part(self, bucket: str, key: str, upload_id: str, number: int, data: bytes) -> Part:
        with self._lock:
            self._upload(bucket, key, upload_id).parts[number] = bytes(data)
        return Part(number=number, etag=_md5(data), size_bytes=len(data))

    def parts(self, bucket: str, key: str, upload_id: str) -> tuple[Part, ...]:
        with self._lock:
            kept = sorted(self._upload(bucket, key, upload_id).parts.items())
        return tuple(Part(number=n, etag=_md5(d), size_bytes=len(d)) for n, d in kept)

    def complete_upload(
        self, bucket: str, key: str, upload_id: str, parts: Sequence[Part]
    ) -> ObjectInfo:
        ordered = sorted(parts, key=lambda part: part.number)
        etag = _md5(b"".join(bytes.fromhex(part.etag) for part in ordered)) + f"-{len(ordered)}"
        with self._lock:
            if upload_id not in self._uploads and self._find(bucket, key)[1].etag == etag:
                return self.stat(bucket, key)
            kept = self._upload(bucket, key, upload_id).parts
            if any(p.number not in kept or _md5(kept[p.number]) != p.etag for p in ordered):
                raise StoreError(f"{bucket}/{key}: a part is not the one that was uploaded")
            info = self._keep(bucket, key, b"".join(kept[p.number] for p in ordered), etag)
            del self._uploads[upload_id]
        return info

    def abort_upload(self, bucket: str, key: str, upload_id: str) -> None:  # noqa: ARG002
        with self._lock:
            self._uploads.pop(upload_id, None)

    def uploads(self, bucket: str, prefix: str) -> tuple[OpenUpload, ...]:
        with self._lock:
            self._objects(bucket)
            return tuple(
                OpenUpload(key=upload.key, upload_id=upload_id)
                for upload_id, upload in sorted(self._uploads.items())
                if upload.bucket == bucket and upload.key.startswith(prefix)
            )

    def presign_get(self, bucket: str, key: str, *, expires_s: int) -> str:
        return self._sign("GET", bucket, key, expires_s)

    def presign_put(self, bucket: str, key: str, *, expires_s: int) -> str:
        return self._sign("PUT", bucket, key, expires_s)

    def presign_put_part(
        self, bucket: str, key: str, upload_id: str, number: int, *, expires_s: int
    ) -> str:
        return self._sign("PUT", bucket, key, expires_s, uploadId=upload_id, partNumber=number)

    def _sign(self, method: str, bucket: str, key: str, expires_s: int, **extra: object) -> str:
        query = urlencode({"method": method, "expires": time() + expires_s, **extra})
        return f"memory://{self._id}/{bucket}/{quote(key)}?{query}"

    def _objects(self, bucket: str) -> dict[str, tuple[bytes, ObjectInfo]]:
        try:
            return self._buckets[bucket]
        except KeyError:
            raise BucketMissing(f"There is no bucket {bucket!r}") from None

    def _find(self, bucket: str, key: str) -> tuple[bytes, ObjectInfo]:
        with self._lock:
            try:
                return self._objects(bucket)[key]
            except KeyError:
                raise ObjectMissing(f"There is no object {bucket}/{key}") from None

    def _upload(self, bucket: str, key: str, upload_id: str) -> _Upload:
        upload = self._uploads.get(upload_id)
        if upload is None or (upload.bucket, upload.key) != (bucket, key):
            raise ObjectMissing(f"There is no such upload of {bucket}/{key}")
        return upload

    def _keep(self, bucket: str, key: str, data: bytes, etag: str) -> ObjectInfo:
        info = ObjectInfo(key=key, size_bytes=len(data), etag=etag, last_modified=datetime.now(UTC))
        with self._lock:
            self._objects(bucket)[key] = (bytes(data), info)
        return info


def read_url(url: str, offset: int, length: int | None, max_bytes: int) -> bytes:
    """What GET of a presigned URL gives. Raises the ``SourceError`` branch."""
    try:
        store, bucket, key, _ = _resolve(url, "GET")
        return store.get(bucket, key, offset=offset, length=length, max_bytes=max_bytes)
    except ObjectMissing as error:
        raise SourceMissing(error.message) from error
    except StoreError as error:
        raise SourceForbidden(error.message) from error


def write_url(url: str, pieces: Sequence[Buffer]) -> str:
    """What PUT to a presigned URL does; returns the ETag."""
    store, bucket, key, query = _resolve(url, "PUT")
    data = b"".join(pieces)
    if "uploadId" not in query:
        return store.put(bucket, key, data, "").etag
    return store.put_part(bucket, key, query["uploadId"], int(query["partNumber"]), data).etag


def _resolve(url: str, method: str) -> tuple[MemoryStore, str, str, dict[str, str]]:
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    bucket, _, key = unquote(parts.path).removeprefix("/").partition("/")
    store = _stores.get(parts.netloc)
    if store is None or query.get("method") != method or float(query["expires"]) < time():
        raise StoreDenied(f"The URL of {bucket}/{key} is not valid here, now and for {method}")
    return store, bucket, key, query


def _md5(data: Buffer) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
