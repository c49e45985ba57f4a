"""An object store that takes the simulated workers' word for what they have put into it."""

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from pipeline.model import Part
from pipeline.settings import Settings
from pipeline.stores.objects import ObjectInfo
from pipeline.stores.objects_s3 import S3Store

T = TypeVar("T")

_PAGE = 1000  # of what S3 lists


class MadeUpStore(S3Store):
    """A real one, but for parts and objects that were never sent: it lists them all the same.

    ``counts``: ``requests`` that a real one would have got, and addresses ``presigned``.
    """

    def __init__(self, settings: Settings, patience_s: float) -> None:
        assert settings.minio_endpoint is not None
        super().__init__(
            settings.minio_endpoint,
            settings.minio_access_key,
            settings.minio_secret_key.get_secret_value(),
            secure=settings.minio_use_ssl,
            patience_s=patience_s,
        )
        self._lock = threading.Lock()
        self._sizes: dict[str, int] = {}
        self._parts: dict[str, dict[int, Part]] = defaultdict(dict)
        self.counts: Counter[str] = Counter()

    # --- what simulated workers do ---

    def take(self, url: str, size_bytes: int) -> None:
        """An object, put to a presigned URL."""
        with self._lock:
            self._sizes[_key(url)] = size_bytes

    def take_part(self, url: str, size_bytes: int) -> Part:
        """The same with a part of an upload."""
        query = parse_qs(urlsplit(url).query)
        (upload_id,), (number,) = query["uploadId"], query["partNumber"]
        part = Part(number=int(number), etag=f"etag-{number}", size_bytes=size_bytes)
        with self._lock:
            self._parts[upload_id][part.number] = part
        return part

    def size_of(self, url: str) -> int:
        with self._lock:
            return self._sizes[_key(url)]

    # --- what supervisors do ---

    def list(self, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
        yield from super().list(bucket, prefix)
        with self._lock:
            found = [(key, size) for key, size in self._sizes.items() if key.startswith(prefix)]
        self._count(requests=1 + len(found) // _PAGE)
        yield from (ObjectInfo(key=key, size_bytes=size, etag="") for key, size in found)

    def delete(self, bucket: str, keys: Sequence[str]) -> None:
        with self._lock:
            for key in keys:
                self._sizes.pop(key, None)
        super().delete(bucket, keys)

    def parts(self, bucket: str, key: str, upload_id: str) -> tuple[Part, ...]:  # noqa: ARG002
        with self._lock:
            found = tuple(part for _, part in sorted(self._parts[upload_id].items()))
        self._count(requests=1 + len(found) // _PAGE)
        return found

    def complete_upload(
        self,
        bucket: str,
        key: str,
        upload_id: str,  # noqa: ARG002
        parts: Sequence[Part],
    ) -> ObjectInfo:
        # It is completed, and looked at.
        self._count(requests=2)
        return ObjectInfo(
            key=f"{bucket}/{key}", size_bytes=sum(p.size_bytes for p in parts), etag=""
        )

    def _call(self, operation: str, action: Callable[[], T], bucket: str, key: str = "") -> T:
        self._count(requests=1)
        return super()._call(operation, action, bucket, key)

    def _presign(
        self, method: str, bucket: str, key: str, expires_s: int, query: dict[str, str]
    ) -> str:
        # Goes through ``_call``, and asks nobody.
        self._count(requests=-1, presigned=1)
        return super()._presign(method, bucket, key, expires_s, query)

    def _count(self, **more: int) -> None:
        with self._lock:
            self.counts.update(more)


def _key(url: str) -> str:
    """Without the bucket."""
    return unquote(urlsplit(url).path).removeprefix("/").partition("/")[2]
