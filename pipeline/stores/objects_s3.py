"""``S3Store``: any S3-compatible store through the ``minio`` client.

The bytes of parts go over presigned URLs (``pipeline.transfer``), which spares a checksum of the
payload. Retries are ours alone: the client's own would multiply them.
"""

import io
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from datetime import timedelta
from functools import partial
from itertools import count
from typing import TypeVar
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.datatypes import Object
from minio.deleteobjects import DeleteObject
from minio.error import S3Error

from pipeline.connections import CONNECT_TIMEOUT_S, tls_context
from pipeline.errors import BucketMissing, MediaInvalid, SettingsError, StoreError, StoreUnavailable
from pipeline.metrics import request
from pipeline.model import Part
from pipeline.stores.objects import ObjectInfo, OpenUpload
from pipeline.stores.objects_s3_client import MultipartClient
from pipeline.stores.objects_s3_errors import s3_errors
from pipeline.transfer import TransferLimits, store

T = TypeVar("T")

_FIRST_DELAY_S = 0.2
_LONGEST_DELAY_S = 5.0
_SLOWEST_BYTES_PER_S = 1 << 20  # large transfers get time on top of the timeout at this rate
_READ_BYTES = 256 * 1024
_MAX_CONNECTIONS = 16
_MIN_PART_BYTES = 5 << 20
_LONGEST_EXPIRY_S = 7 * 24 * 3600


class S3Store:
    """See ``ObjectStore`` for what the methods do.

    ``timeout_s`` bounds each wait for the server, ``attempts`` how often a call is tried; while the
    server is away it is tried for ``patience_s`` at least. ``public_url``: where viewers reach it.
    """

    def __init__(
        self,
        endpoint: str,
        access_key: str,
        secret_key: str,
        *,
        secure: bool,
        timeout_s: float = 30.0,
        attempts: int = 4,
        patience_s: float = 0.0,
        public_url: str | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._public = public_url and urlsplit(public_url)
        self._keys = access_key, secret_key
        self._timeout_s = timeout_s
        self._attempts, self._patience_s = attempts, patience_s
        connect_s = min(CONNECT_TIMEOUT_S, timeout_s)
        pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=connect_s, read=timeout_s),
            maxsize=_MAX_CONNECTIONS,
            retries=urllib3.Retry(False, redirect=False),
            ssl_context=tls_context() if secure else None,
        )
        try:
            self._client = MultipartClient(
                endpoint, access_key, secret_key, secure=secure, http_client=pool
            )
        except ValueError as error:
            raise SettingsError(f"MINIO_ENDPOINT cannot be used: {error}") from error

    # --- buckets -----------------------------------------------------------------------------

    def ensure_bucket(self, bucket: str) -> None:
        self._call("bucket", lambda: self._make_bucket(bucket), bucket)

    def check_bucket(self, bucket: str) -> None:
        if not self._call("bucket", lambda: self._client.bucket_exists(bucket), bucket):
            raise BucketMissing(f"Object store at {self._endpoint} has no bucket {bucket!r}")

    def _make_bucket(self, bucket: str) -> None:
        if self._client.bucket_exists(bucket):
            return
        try:
            self._client.make_bucket(bucket)
        except S3Error as error:
            if error.code != "BucketAlreadyOwnedByYou":  # somebody was faster
                raise

    # --- objects -----------------------------------------------------------------------------

    def stat(self, bucket: str, key: str) -> ObjectInfo:
        return _info(self._call("stat", lambda: self._client.stat_object(bucket, key), bucket, key))

    def get(
        self, bucket: str, key: str, *, offset: int = 0, length: int | None = None, max_bytes: int
    ) -> bytes:
        if length == 0:
            return b""  # the client takes 0 for "all"
        return self._call(
            "get", lambda: self._read(bucket, key, offset, length or 0, max_bytes), bucket, key
        )

    def _read(self, bucket: str, key: str, offset: int, length: int, max_bytes: int) -> bytes:
        deadline = time.monotonic() + self._allowed_s(max_bytes)
        try:
            response = self._client.get_object(bucket, key, offset, length)
        except S3Error as error:
            if error.code != "InvalidRange":
                raise
            return b""  # from the end of the object on there is nothing
        data = bytearray()
        try:
            while piece := response.read1(_READ_BYTES):
                data += piece
                if len(data) > max_bytes:
                    message = f"{bucket}/{key} is larger than the limit of {max_bytes} bytes"
                    raise MediaInvalid(message)
                if time.monotonic() > deadline:
                    raise TimeoutError
        finally:
            response.close()  # gives a connection that was read to its end back
            response.release_conn()
        return bytes(data)

    def put(self, bucket: str, key: str, data: bytes, content_type: str) -> ObjectInfo:
        result = self._call(
            "put",
            lambda: self._client.put_object(
                bucket,
                key,
                io.BytesIO(data),
                len(data),
                content_type,
                part_size=max(len(data), _MIN_PART_BYTES),  # one request, whatever the size
            ),
            bucket,
            key,
        )
        return ObjectInfo(key=key, size_bytes=len(data), etag=result.etag or "")

    def list(self, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
        after: str | None = None
        failures, give_up = 0, self._give_up()
        while True:
            try:
                with s3_errors(self._endpoint, bucket):
                    for item in self._client.list_objects(
                        bucket, prefix, recursive=True, start_after=after
                    ):
                        failures, give_up, after = 0, self._give_up(), item.object_name
                        yield _info(item)
                    return
            except StoreUnavailable:
                failures += 1
                if self._is_enough(failures, give_up):
                    raise
            time.sleep(_delay_s(failures))

    def delete(self, bucket: str, keys: Sequence[str]) -> None:
        def remove() -> None:
            for failure in self._client.remove_objects(bucket, map(DeleteObject, keys)):
                if failure.code not in ("NoSuchKey", "NoSuchVersion"):
                    where = f"{bucket}/{failure.name}"
                    raise StoreUnavailable(f"{where} could not be deleted: {failure.code}")

        self._call("delete", remove, bucket)

    # --- multipart uploads -------------------------------------------------------------------

    def create_upload(self, bucket: str, key: str, content_type: str) -> str:
        return self._call(
            "begin", lambda: self._client.begin(bucket, key, content_type), bucket, key
        )

    def put_part(self, bucket: str, key: str, upload_id: str, number: int, data: bytes) -> Part:
        limits = TransferLimits(
            timeout_s=self._allowed_s(len(data)),
            attempts=self._attempts,
            retry_delay_s=_FIRST_DELAY_S,
            max_bytes=len(data),
        )
        url = self.presign_put_part(bucket, key, upload_id, number, expires_s=3600)
        return Part(number=number, etag=store(url, data, limits=limits), size_bytes=len(data))

    def parts(self, bucket: str, key: str, upload_id: str) -> tuple[Part, ...]:
        found: list[Part] = []
        marker: str | None = None
        while True:
            ask = partial(self._client.parts_after, bucket, key, upload_id, marker)
            page = self._call("parts", ask, bucket, key)
            found += [
                Part(number=p.part_number, etag=p.etag, size_bytes=p.size or 0) for p in page.parts
            ]
            marker = page.next_part_number_marker
            if not page.is_truncated or not marker:
                return tuple(sorted(found, key=lambda part: part.number))

    def complete_upload(
        self, bucket: str, key: str, upload_id: str, parts: Sequence[Part]
    ) -> ObjectInfo:
        ordered = sorted(parts, key=lambda part: part.number)
        size = sum(part.size_bytes for part in ordered)
        self._call(
            "complete", lambda: self._finish(bucket, key, upload_id, ordered, size), bucket, key
        )
        info = self.stat(bucket, key)
        if info.size_bytes != size:
            found = f"{bucket}/{key} has {info.size_bytes} bytes"
            raise StoreError(f"{found} where its parts have {size}")
        return info

    def _finish(
        self, bucket: str, key: str, upload_id: str, parts: Sequence[Part], size: int
    ) -> None:
        try:
            if not self._client.finish(bucket, key, upload_id, parts):
                raise StoreUnavailable(f"{bucket}/{key} could not be completed")
        except S3Error as error:
            # An answer may have been lost: then the object is there and the upload is not.
            if error.code != "NoSuchUpload" or not self._is_made_of(bucket, key, len(parts), size):
                raise

    def _is_made_of(self, bucket: str, key: str, parts: int, size: int) -> bool:
        try:
            there = self._client.stat_object(bucket, key)
        except S3Error:
            return False
        return there.size == size and (there.etag or "").endswith(f"-{parts}")

    def abort_upload(self, bucket: str, key: str, upload_id: str) -> None:
        def drop() -> None:
            try:
                self._client.drop(bucket, key, upload_id)
            except S3Error as error:
                if error.code != "NoSuchUpload":
                    raise

        self._call("abort", drop, bucket, key)

    def uploads(self, bucket: str, prefix: str) -> tuple[OpenUpload, ...]:
        found: list[OpenUpload] = []
        markers: Mapping[str, str] = {}
        while True:
            ask = partial(self._client.uploads_after, bucket, prefix, markers)
            page, markers = self._call("uploads", ask, bucket)
            found += [upload for upload in page if upload.key.startswith(prefix)]
            if not markers:
                return tuple(found)

    # --- presigned URLs ----------------------------------------------------------------------
    # The client asks for a bucket's region once per process; otherwise these do no network call.

    def presign_get(self, bucket: str, key: str, *, expires_s: int) -> str:
        return self._presign("GET", bucket, key, expires_s, {})

    def presign_public(self, bucket: str, key: str, expires_s: int) -> str:
        """As ``presign_get``, where viewers reach it. A signature is good for one host only."""
        if not self._public:
            return self.presign_get(bucket, key, expires_s=expires_s)
        region = self._call("bucket", lambda: self._client.region_of(bucket), bucket)
        client = Minio(
            self._public.netloc, *self._keys, secure=self._public.scheme == "https", region=region
        )
        return client.presigned_get_object(bucket, key, timedelta(seconds=expires_s))

    def presign_put(self, bucket: str, key: str, *, expires_s: int) -> str:
        return self._presign("PUT", bucket, key, expires_s, {})

    def presign_put_part(
        self, bucket: str, key: str, upload_id: str, number: int, *, expires_s: int
    ) -> str:
        query = {"partNumber": str(number), "uploadId": upload_id}
        return self._presign("PUT", bucket, key, expires_s, query)

    def _presign(
        self, method: str, bucket: str, key: str, expires_s: int, query: dict[str, str]
    ) -> str:
        expires = timedelta(seconds=min(expires_s, _LONGEST_EXPIRY_S))
        return self._call(
            "",
            lambda: self._client.get_presigned_url(
                method, bucket, key, expires, extra_query_params=dict(query)
            ),
            bucket,
            key,
        )

    # --- bounds and retries ------------------------------------------------------------------

    def _call(self, operation: str, action: Callable[[], T], bucket: str, key: str = "") -> T:
        """``operation``: for metrics; empty for what is hardly ever a request."""
        give_up = self._give_up()
        for attempt in count(1):
            try:
                counted = request("s3", operation) if operation else nullcontext()
                with counted, s3_errors(self._endpoint, bucket, key):
                    return action()
            except StoreUnavailable:
                if self._is_enough(attempt, give_up):
                    raise
            time.sleep(_delay_s(attempt))
        raise AssertionError("unreachable")

    def _give_up(self) -> float:
        return time.monotonic() + self._patience_s

    def _is_enough(self, failures: int, give_up: float) -> bool:
        return failures >= self._attempts and time.monotonic() >= give_up

    def _allowed_s(self, size: int) -> float:
        return self._timeout_s + size / _SLOWEST_BYTES_PER_S


def _delay_s(attempt: int) -> float:
    longest = min(_FIRST_DELAY_S * 2.0 ** min(attempt - 1, 10), _LONGEST_DELAY_S)
    return longest * random.uniform(0.5, 1.0)


def _info(item: Object) -> ObjectInfo:
    return ObjectInfo(
        key=item.object_name or "",
        size_bytes=item.size or 0,
        etag=item.etag or "",
        last_modified=item.last_modified,
    )
