"""A recording's own corner of the results bucket: what waits there until the recording is whole.

Copies of live segments, chunks too small to be a part, fillers, tiles of the storyboard. Nothing of
it is a result. Chunks go when the object is whole; all of it goes when the recording is final, and
nothing can resume it.
"""

from typing import Protocol
from uuid import UUID

from pipeline.model import Segment
from pipeline.stores.objects import ObjectStore

# A job may wait in the queue for long, and its addresses must still be valid when it runs.
URL_LIFETIME_S = 24 * 3600
PREFIX = ".vodray/"
_STAGED = "staged:"


def staging_prefix(recording_id: UUID) -> str:
    return f"{PREFIX}{recording_id}/"


def copies_prefix(recording_id: UUID) -> str:
    """Of what was copied from the live source."""
    return f"{staging_prefix(recording_id)}live/"


def chunks_prefix(recording_id: UUID, rendition: str) -> str:
    return f"{staging_prefix(recording_id)}{rendition}/"


def storyboard_prefix(recording_id: UUID) -> str:
    """Of tiles, and of sheets that are full: kept as long as the recording may go on."""
    return f"{staging_prefix(recording_id)}storyboard/"


def strip_key(recording_id: UUID, chunk: int) -> str:
    """Of the tiles of one chunk."""
    return f"{storyboard_prefix(recording_id)}{chunk:06d}"


def clear(results: ObjectStore, bucket: str, prefix: str) -> None:
    """Delete all below one of these prefixes."""
    results.delete(bucket, [found.key for found in results.list(bucket, prefix)])


def staged(key: str) -> str:
    """The reference of an object in the corner, for ``Segment.uri`` and the like."""
    return _STAGED + key


def staged_key(ref: str) -> str | None:
    """The key that ``staged`` made the reference of, if it did."""
    return ref.removeprefix(_STAGED) if ref.startswith(_STAGED) else None


def staged_keys(segment: Segment) -> set[str]:
    """Of its copy and those of its init and keys."""
    init = segment.init
    keys = (segment.key, init.key if init else None)
    refs = [segment.uri, *([init.uri] if init else []), *(key.uri for key in keys if key)]
    return {key for key in map(staged_key, refs) if key is not None}


class Locates(Protocol):
    """Whatever turns references into addresses that need no key."""

    def url(self, ref: str) -> str: ...


class Addresses:
    """Those of a source, and of what was copied from it."""

    def __init__(self, source: Locates, results: ObjectStore, bucket: str) -> None:
        self._source, self._results, self._bucket = source, results, bucket

    def url(self, ref: str) -> str:
        key = staged_key(ref)
        if key is None:
            return self._source.url(ref)
        return self._results.presign_get(self._bucket, key, expires_s=URL_LIFETIME_S)
