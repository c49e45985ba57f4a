"""A recording's own place in the results: a name that nobody else has, and the uploads under it.
What fails leaves nothing there.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import structlog

from pipeline.errors import BucketMissing, ObjectMissing
from pipeline.model import Output, Recording, Upload
from pipeline.naming import MAIN_SUFFIXES, object_key, object_names
from pipeline.results import is_result_of, objects_of
from pipeline.staging import staging_prefix
from pipeline.stores.catalog import Catalog
from pipeline.stores.objects import ObjectStore, OpenUpload

CONTENT_TYPES = {".mp4": "video/mp4", ".m4a": "audio/mp4"}

log = structlog.get_logger()


async def claim(
    recording: Recording,
    outputs: Sequence[Output],
    *,
    template: str,
    catalog: Catalog,
    results: ObjectStore,
    bucket: str,
) -> tuple[Recording, tuple[Upload, ...]]:
    """The recording with its object name, and the multipart uploads of its outputs; the same ones
    each time, as long as they are there."""
    names = object_names(template, recording)
    if recording.object_name is None:
        names = await asyncio.to_thread(_untaken, results, bucket, names)
    name = await catalog.claim_name(recording.id, names)
    recording = replace(recording, object_name=name)
    known = await catalog.uploads(recording.id)
    if known:
        if recording.file_path is None:
            known = await _renew(recording, known, catalog, results, bucket)
        return recording, known
    uploads = await asyncio.to_thread(_begin_uploads, results, bucket, name, outputs)
    await catalog.add_uploads(recording.id, uploads)
    return recording, uploads


async def _renew(
    recording: Recording,
    uploads: tuple[Upload, ...],
    catalog: Catalog,
    results: ObjectStore,
    bucket: str,
) -> tuple[Upload, ...]:
    """The uploads, with new ones for those that somebody has aborted, as rules of a bucket do with
    old ones: the chunks that were in those are to be made again."""
    gone = await asyncio.to_thread(
        lambda: [upload for upload in uploads if _is_gone(results, bucket, upload)]
    )
    if not gone:
        return uploads
    # Before there is a new one: whoever is interrupted here finds the old ones gone again.
    chunks = await catalog.forget_parts(recording.id)
    renewed = {}
    for upload in gone:
        renewed[upload.rendition] = await asyncio.to_thread(begin_anew, results, bucket, upload)
        log.warning("upload_gone", recording=str(recording.id), key=upload.key, chunks=chunks)
    await catalog.add_uploads(recording.id, list(renewed.values()))
    return tuple(renewed.get(upload.rendition, upload) for upload in uploads)


def _is_gone(results: ObjectStore, bucket: str, upload: Upload) -> bool:
    """Whether it is neither open nor completed."""
    try:
        results.parts(bucket, upload.key, upload.upload_id)
    except ObjectMissing:
        try:
            results.stat(bucket, upload.key)
        except ObjectMissing:
            return True
    return False


def begin_anew(results: ObjectStore, bucket: str, upload: Upload) -> Upload:
    """The same with nothing in it."""
    return replace(upload, upload_id=_begin_upload(results, bucket, upload.key))


def _begin_upload(results: ObjectStore, bucket: str, key: str) -> str:
    """Returns its id."""
    content_type = CONTENT_TYPES[f".{key.rpartition('.')[2]}"]
    return results.create_upload(bucket, key, content_type)


def _begin_uploads(
    results: ObjectStore, bucket: str, name: str, outputs: Sequence[Output]
) -> tuple[Upload, ...]:
    uploads = []
    for number, output in enumerate(outputs):
        key = object_key(name, output, number)
        upload_id = _begin_upload(results, bucket, key)
        uploads.append(Upload(key=key, upload_id=upload_id, output=output, number=number))
    return tuple(uploads)


def _untaken(results: ObjectStore, bucket: str, names: Sequence[str]) -> tuple[str, ...]:
    """Names under which the bucket holds nothing: the catalogue may not know every object."""

    def is_taken(name: str) -> bool:
        keys = [name + suffix for suffix in MAIN_SUFFIXES]
        return any(found.key == key for key in keys for found in results.list(bucket, key))

    return (*(name for name in names[:-1] if not is_taken(name)), names[-1])


def own_uploads(
    results: ObjectStore, bucket: str, name: str, uploads: Sequence[Upload]
) -> Iterator[OpenUpload]:
    """Those of a recording's name and outputs, also ones of whose beginning nobody has heard; but
    none of another recording whose name is below its own."""
    for suffix in MAIN_SUFFIXES:
        key = name + suffix
        yield from (left for left in results.uploads(bucket, key) if left.key == key)
    renditions = [upload.rendition for upload in uploads]
    for left in results.uploads(bucket, f"{name}/"):
        if is_result_of(left.key, name, renditions):
            yield left


def remove_results(results: ObjectStore, bucket: str, recording: Recording) -> None:
    """Delete the objects that a completed recording consists of."""
    results.delete(bucket, [found.key for found in objects_of(results, bucket, recording)])


def remove_everything(
    results: ObjectStore, bucket: str, recording: Recording, uploads: Sequence[Upload]
) -> None:
    """Leave no object and no unfinished upload of a recording that failed or was cancelled; but
    what was completed before its stream came back, and what others have below its name."""
    with contextlib.suppress(BucketMissing):
        for upload in uploads:
            results.abort_upload(bucket, upload.key, upload.upload_id)
        keys = [found.key for found in results.list(bucket, staging_prefix(recording.id))]
        name = recording.object_name
        if name is not None:
            for left in list(own_uploads(results, bucket, name, uploads)):
                results.abort_upload(bucket, left.key, left.upload_id)
        if recording.file_path is None:
            keys += [upload.key for upload in uploads]
            if name is not None:
                renditions = [upload.rendition for upload in uploads]
                beside = results.list(bucket, f"{name}/")
                keys += [one.key for one in beside if is_result_of(one.key, name, renditions)]
        results.delete(bucket, keys)
