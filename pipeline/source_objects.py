"""Which objects of the source bucket a recording was made from, told by its playlists while they
are still there: what may be deleted once the recording does without.

Only what lies in the playlist's own folder counts, and only from the segment on that the recording
began with: a playlist may name what is another stream's, or go on over several broadcasts.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from pipeline.errors import SourceForbidden
from pipeline.model import Segment
from pipeline.source import Presentation, Source, mark_of, open_presentation
from pipeline.stores.objects import ObjectStore


def objects_named(
    source: Source, fingerprint: str, store: ObjectStore, bucket: str
) -> Mapping[str, str]:
    """ETags by key, none where the playlist tells of another broadcast by now, or lies in no folder
    of ``bucket``. Raises ``SourceError``, ``StoreError``."""
    found = open_presentation(source)
    home = f"s3://{bucket}/"
    folder = found.source.ref.removeprefix(home).rpartition("/")[0]
    if not found.source.ref.startswith(home) or not folder:
        return {}
    etags = {info.key: info.etag for info in store.list(bucket, f"{folder}/")}
    segments = found.playlist.segments
    refs = [_resolved(found.source, segment.uri) for segment in segments]
    marks = (
        mark_of(segment, ref, etags.get(ref.removeprefix(home), ""))
        for segment, ref in zip(segments, refs, strict=True)
    )
    begin = next((at for at, mark in enumerate(marks) if mark == fingerprint), None)
    if begin is None:
        return {}
    # What comes before may be another recording's, and inits, keys and playlists are both's then.
    named = refs[begin:] if begin else list(_all_of(found))
    keys = (ref.removeprefix(home) for ref in named if ref.startswith(home))
    return {key: etags[key] for key in keys if key in etags}


def _all_of(found: Presentation) -> Iterator[str]:
    """Segments and what they need, then the playlists that name them."""
    playlists = [(found.source, found.playlist.segments)]
    playlists += [(each.source, each.playlist.segments) for each in found.sounds if each.playlist]
    for source, segments in playlists:
        yield from _refs(source, segments)
    for source, _ in playlists:
        yield source.ref


def _refs(source: Source, segments: Sequence[Segment]) -> Iterator[str]:
    for segment in segments:
        init = segment.init
        keys = (segment.key, init.key if init else None)
        for uri in (segment.uri, init and init.uri, *(key.uri for key in keys if key)):
            if uri:
                yield _resolved(source, uri)


def _resolved(source: Source, uri: str) -> str:
    """Empty where it may not be read."""
    with suppress(SourceForbidden):
        return source.resolve(uri)
    return ""
