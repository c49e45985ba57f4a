"""A recording's own place in the results: a name that nobody else has, and the upload under it.
What fails leaves nothing there.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace

from actors.dispatch import RENDITION
from pipeline.errors import BucketMissing
from pipeline.model import Recording, Upload
from pipeline.naming import object_names
from pipeline.staging import staging_prefix
from pipeline.stores.catalog import Catalog
from pipeline.stores.objects import ObjectStore


async def claim(
    recording: Recording, *, template: str, catalog: Catalog, results: ObjectStore, bucket: str
) -> tuple[Recording, Upload]:
    """The recording with its object name, and its multipart upload; the same ones each time."""
    names = object_names(template, recording)
    if recording.object_name is None:
        names = await asyncio.to_thread(_untaken, results, bucket, names)
    name = await catalog.claim_name(recording.id, names)
    for known in await catalog.uploads(recording.id):
        if known.rendition == RENDITION:
            return replace(recording, object_name=name), known
    key = f"{name}.mp4"
    upload_id = await asyncio.to_thread(results.create_upload, bucket, key, "video/mp4")
    upload = Upload(rendition=RENDITION, key=key, upload_id=upload_id)
    await catalog.add_upload(recording.id, upload)
    return replace(recording, object_name=name), upload


def _untaken(results: ObjectStore, bucket: str, names: Sequence[str]) -> tuple[str, ...]:
    """Names under which the bucket holds nothing: the catalogue may not know every object."""

    def is_taken(name: str) -> bool:
        key = f"{name}.mp4"
        return any(found.key == key for found in results.list(bucket, key))

    return (*(name for name in names[:-1] if not is_taken(name)), names[-1])


def remove_everything(
    results: ObjectStore, bucket: str, recording: Recording, uploads: Sequence[Upload]
) -> None:
    """Leave no object and no unfinished upload of a recording that failed or was cancelled; but
    what was completed before its stream came back."""
    with contextlib.suppress(BucketMissing):
        for upload in uploads:
            results.abort_upload(bucket, upload.key, upload.upload_id)
        prefixes, keys = [staging_prefix(recording.id)], []
        if recording.file_path is None:
            keys += [upload.key for upload in uploads]
        if recording.object_name is not None:
            if recording.file_path is None:
                prefixes.append(f"{recording.object_name}/")
            for left in results.uploads(bucket, f"{recording.object_name}.mp4"):
                results.abort_upload(bucket, left.key, left.upload_id)
        for prefix in prefixes:
            keys += [found.key for found in results.list(bucket, prefix)]
        results.delete(bucket, keys)
