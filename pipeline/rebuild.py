"""The catalogue from the results bucket alone: a row for each recording that the bucket tells of
(``notes``) and the catalogue does not know."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from pipeline.errors import Conflict, MediaInvalid, ObjectMissing
from pipeline.model import Recording
from pipeline.naming import MAIN_SUFFIXES
from pipeline.notes import FILE, MAX_BYTES, read_note
from pipeline.results import possible_names
from pipeline.staging import PREFIX
from pipeline.stores.objects import ObjectStore
from pipeline.stores.upkeep import Upkeep


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What became of one object that tells of a recording. ``recording``: None where it cannot be
    believed, and ``problem`` says why; ``is_new``: the catalogue did not know it."""

    key: str
    recording: Recording | None = None
    is_new: bool = False
    problem: str = ""


async def rebuild(
    upkeep: Upkeep, results: ObjectStore, bucket: str, *, dry_run: bool = False
) -> AsyncIterator[Told]:
    """Rows that are there stay as they are."""
    notes, untold = await asyncio.to_thread(_listed, results, bucket)
    for key in await _unknown(upkeep, untold):
        yield Told(key=key, problem=f"Nothing in the bucket tells what {bucket}/{key} is")
    for key in notes:
        try:
            data = await asyncio.to_thread(results.get, bucket, key, max_bytes=MAX_BYTES)
            recording, report = read_note(data, key, bucket)
            await asyncio.to_thread(_check, results, bucket, recording)
            is_new = not await upkeep.knows(recording.id)
            if is_new and not dry_run:
                await upkeep.add(recording, report)
        except (Conflict, MediaInvalid, ObjectMissing) as error:
            yield Told(key=key, problem=str(error))
        else:
            yield Told(key=key, recording=recording, is_new=is_new)


def _listed(results: ObjectStore, bucket: str) -> tuple[list[str], list[str]]:
    """Keys of what tells of recordings, and of media of which nothing tells."""
    media, notes = {}, {}
    for found in results.list(bucket, ""):
        stem, dot, suffix = found.key.rpartition(".")
        if dot + suffix in MAIN_SUFFIXES:
            media[found.key] = stem
        elif found.key.endswith(f"/{FILE}"):
            notes[found.key.removesuffix(f"/{FILE}")] = found.key
    untold = [
        key
        for key, stem in media.items()
        if stem not in notes and stem.rpartition("/")[0] not in notes and not key.startswith(PREFIX)
    ]
    return sorted(notes.values()), sorted(untold)


async def _unknown(upkeep: Upkeep, media: list[str]) -> list[str]:
    """Those that the catalogue does not know either; what is new the bucket is told of soon."""
    names = {name for key in media for name in possible_names(key)}
    known = {name for name, owner in (await upkeep.owners(names)).items() if not owner.is_gone}
    return [key for key in media if known.isdisjoint(possible_names(key))]


def _check(results: ObjectStore, bucket: str, recording: Recording) -> None:
    _, _, key = (recording.file_path or "").partition("/")
    size = results.stat(bucket, key).size_bytes
    if size != recording.file_size:
        raise MediaInvalid(
            f"{bucket}/{key} has {size} bytes where its recording has {recording.file_size}"
        )
