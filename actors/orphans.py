"""Objects and unfinished uploads in the results bucket that belong to no recording any more.

What has the name of a recording that is gone goes, once it is old; what has a name that was never a
recording's is somebody else's: it is counted, and stays.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TypeVar

import structlog

from pipeline.results import is_result_of, possible_names
from pipeline.staging import PREFIX
from pipeline.stores.objects import ObjectInfo, ObjectStore
from pipeline.stores.upkeep import Owner, Upkeep

T = TypeVar("T")

# What is younger may be of a recording that is being deleted or tried again now.
ORPHAN_AGE = timedelta(hours=24)
_AT_ONCE = 1000
_SHOWN = 5

log = structlog.get_logger()


@dataclass(slots=True)
class Found:
    """``foreign``: how many objects are nobody's that we know, of how many bytes, and which."""

    removed: int = 0
    aborted: int = 0
    foreign: int = 0
    foreign_bytes: int = 0
    examples: list[str] = field(default_factory=list)

    def see_foreign(self, key: str, size_bytes: int = 0) -> None:
        self.foreign += 1
        self.foreign_bytes += size_bytes
        if len(self.examples) < _SHOWN:
            self.examples.append(key)


async def sweep_bucket(
    upkeep: Upkeep, results: ObjectStore, bucket: str, *, now: datetime | None = None
) -> Found:
    """Look at all of the bucket but what is staged, page by page."""
    sweep = _Sweep(upkeep, results, bucket, now or datetime.now(UTC))
    await sweep.look_at_objects()
    await sweep.look_at_uploads()
    found = sweep.found
    if found.removed or found.aborted:
        log.info("orphans_removed", objects=found.removed, uploads=found.aborted)
    if found.foreign:
        log.warning(
            "foreign_objects",
            bucket=bucket,
            objects=found.foreign,
            bytes=found.foreign_bytes,
            such_as=found.examples,
        )
    return found


class _Sweep:
    def __init__(self, upkeep: Upkeep, results: ObjectStore, bucket: str, now: datetime) -> None:
        self._upkeep, self._results, self._bucket = upkeep, results, bucket
        self._now = now
        self.found = Found()

    async def look_at_objects(self) -> None:
        listed = self._results.list(self._bucket, "")
        while page := await asyncio.to_thread(_page, listed):
            objects = [info for info in page if not info.key.startswith(PREFIX)]
            owners = await self._owners([info.key for info in objects])
            orphans = []
            for info in objects:
                whose = _whose(info.key, owners)
                if whose is None:
                    self.found.see_foreign(info.key, info.size_bytes)
                elif whose.is_gone and is_orphan(info, self._now):
                    orphans.append(info.key)
            await asyncio.to_thread(self._results.delete, self._bucket, orphans)
            self.found.removed += len(orphans)

    async def look_at_uploads(self) -> None:
        uploads = iter(await asyncio.to_thread(self._results.uploads, self._bucket, ""))
        while page := _page(uploads):
            owners = await self._owners([upload.key for upload in page])
            for upload in page:
                whose = _whose(upload.key, owners)
                if whose is None:
                    self.found.see_foreign(upload.key)
                elif whose.is_gone:
                    abort = self._results.abort_upload
                    await asyncio.to_thread(abort, self._bucket, upload.key, upload.upload_id)
                    self.found.aborted += 1

    async def _owners(self, keys: Sequence[str]) -> Mapping[str, Owner]:
        names = {name for key in keys for name in possible_names(key)}
        return await self._upkeep.owners(names, self._now - ORPHAN_AGE) if names else {}


def _whose(key: str, owners: Mapping[str, Owner]) -> Owner | None:
    """The owner of an object, if it has one: whoever is not gone, where there are several."""
    own = [
        owner
        for name in possible_names(key)
        if (owner := owners.get(name)) is not None
        and (not owner.is_gone or is_result_of(key, name, owner.renditions))
    ]
    return min(own, key=lambda owner: owner.is_gone, default=None)


def is_orphan(info: ObjectInfo, now: datetime) -> bool:
    """Whether an object that is nobody's has been there for so long that nobody will come."""
    return info.last_modified is not None and info.last_modified < now - ORPHAN_AGE


def _page(items: Iterator[T]) -> list[T]:
    return list(islice(items, _AT_ONCE))
