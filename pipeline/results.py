"""Which objects of the results bucket are whose: those of a recording, and whose an object may be.

Decided by names alone, as ``naming`` and ``presentation`` make them: what somebody else has put
beside them is never taken for ours.
"""

import contextlib
from collections.abc import Collection, Iterator, Sequence

from pipeline.errors import BucketMissing
from pipeline.model import Recording
from pipeline.naming import MAIN_SUFFIXES, is_file_of
from pipeline.stores.objects import ObjectInfo, ObjectStore


def objects_of(results: ObjectStore, bucket: str, recording: Recording) -> Iterator[ObjectInfo]:
    """What a completed recording consists of, and nothing of another's: names may be below its
    own."""
    name = recording.object_name
    if name is None:
        return
    mains = {name + suffix for suffix in MAIN_SUFFIXES}
    renditions = [rendition.name for rendition in recording.renditions]
    with contextlib.suppress(BucketMissing):
        for main in sorted(mains):
            yield from (found for found in results.list(bucket, main) if found.key == main)
        for found in results.list(bucket, f"{name}/"):
            if found.key not in mains and is_result_of(found.key, name, renditions):
                yield found


def is_result_of(key: str, name: str, renditions: Collection[str]) -> bool:
    """Whether an object has a name that a recording with this one and these renditions gives."""
    if key in [name + suffix for suffix in MAIN_SUFFIXES]:
        return True
    return key.startswith(f"{name}/") and is_file_of(key.removeprefix(f"{name}/"), renditions)


def possible_names(key: str) -> Sequence[str]:
    """Names of recordings that an object may belong to."""
    names = [key.removesuffix(suffix) for suffix in MAIN_SUFFIXES if key.endswith(suffix)]
    folder = key.rpartition("/")[0]
    return [name for name in (*names, folder) if name]
