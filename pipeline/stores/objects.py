"""``ObjectStore``: buckets of objects, as S3 has them, and whatever may stand in for it.

Calls block; actors run them in threads. Errors are the ``StoreError`` branch of
``pipeline.errors``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pipeline.model import Part


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """One object in a bucket. ``etag`` without quotes."""

    key: str
    size_bytes: int
    etag: str
    last_modified: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenUpload:
    """One unfinished multipart upload."""

    key: str
    upload_id: str


class ObjectStore(Protocol):
    """What the product needs of an object store. Every call has a bound in time and retries."""

    def ensure_bucket(self, bucket: str) -> None:
        """Make the bucket unless it is there."""

    def check_bucket(self, bucket: str) -> None:
        """Raise ``BucketMissing``, ``StoreDenied``, ``StoreUnavailable`` unless it can be used."""

    def stat(self, bucket: str, key: str) -> ObjectInfo:
        """Raise ``ObjectMissing`` if there is none."""

    def get(
        self, bucket: str, key: str, *, offset: int = 0, length: int | None = None, max_bytes: int
    ) -> bytes:
        """The object's bytes, or ``length`` of them from ``offset``: fewer where the object ends.

        Raises ``MediaInvalid`` where more than ``max_bytes`` would come.
        """

    def put(self, bucket: str, key: str, data: bytes, content_type: str) -> ObjectInfo: ...

    def list(self, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
        """Objects whose key begins with ``prefix``; servers differ in their order."""

    def delete(self, bucket: str, keys: Sequence[str]) -> None:
        """Delete the objects; those that are not there are no error."""

    def create_upload(self, bucket: str, key: str, content_type: str) -> str:
        """Begin a multipart upload; returns its id."""

    def put_part(self, bucket: str, key: str, upload_id: str, number: int, data: bytes) -> Part: ...

    def parts(self, bucket: str, key: str, upload_id: str) -> tuple[Part, ...]:
        """The parts uploaded so far, by number. Raises ``ObjectMissing`` for an unknown upload.

        Of a part that was sent again with other bytes, a server may list both: tell by the ETag.
        """

    def complete_upload(
        self, bucket: str, key: str, upload_id: str, parts: Sequence[Part]
    ) -> ObjectInfo:
        """Make the parts, in order of their numbers, the object.

        May be repeated: an upload that these parts completed before is no error.
        """

    def abort_upload(self, bucket: str, key: str, upload_id: str) -> None:
        """Drop the upload and its parts; an unknown one is no error."""

    def uploads(self, bucket: str, prefix: str) -> tuple[OpenUpload, ...]:
        """Unfinished uploads of keys that begin with ``prefix``."""

    def presign_get(self, bucket: str, key: str, *, expires_s: int) -> str:
        """A URL that ``pipeline.transfer`` reads from without keys; S3 grants 7 days at most."""

    def presign_put(self, bucket: str, key: str, *, expires_s: int) -> str: ...

    def presign_put_part(
        self, bucket: str, key: str, upload_id: str, number: int, *, expires_s: int
    ) -> str: ...
