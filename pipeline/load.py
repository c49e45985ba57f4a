"""Segments -> their bytes: fetched, decrypted, and told apart by what they are.

One bad segment costs itself: why it cannot be had is told, not raised.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from functools import partial

from pipeline.errors import MediaInvalid, SourceError, SourceUnavailable
from pipeline.media.decrypt import check_key, decrypt
from pipeline.media.sniff import Kind, Media, identify, is_mp4
from pipeline.model import ByteRange, InitSection, Segment, SegmentKey
from pipeline.settings import Settings
from pipeline.stages import stage
from pipeline.transfer import TransferLimits, fetch

_KEY_LIMIT_BYTES = 64 * 1024


def source_limits(settings: Settings) -> TransferLimits:
    """What one segment may cost."""
    return TransferLimits(
        timeout_s=settings.segment_download_timeout.total_seconds(),
        attempts=settings.max_retry_attempts + 1,
        retry_delay_s=settings.retry_delay.total_seconds(),
        max_bytes=settings.max_segment_bytes,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A segment with its bytes, or why there are none. ``init``: the bytes of its EXT-X-MAP;
    ``may_return``: its server fails or does not answer."""

    segment: Segment
    init: bytes = b""
    media: Media | None = None
    problem: str = ""
    may_return: bool = False
    bytes_in: int = 0


_Resource = tuple[str, ByteRange | None]


class Loader:
    """Reads by URLs that need no key. ``urls``: by reference, of everything that may be asked for.

    Inits and keys are fetched once; everything on the threads of ``executor``.
    """

    def __init__(self, urls: Mapping[str, str], limits: TransferLimits, executor: Executor) -> None:
        self._urls, self._limits, self._executor = urls, limits, executor
        self._shared: dict[_Resource, Future[bytes]] = {}

    def load(self, segments: Sequence[Segment]) -> list[Loaded]:
        """In order, each with its bytes or its problem."""
        for segment in segments:
            for uri, byte_range, limit in _shared_resources(segment):
                self._share(uri, byte_range, limit)
        bodies = [
            None if s.is_gap else self._executor.submit(self._fetch, s.uri, s.byte_range)
            for s in segments
        ]
        return [self._finish(segment, body) for segment, body in zip(segments, bodies, strict=True)]

    def _finish(self, segment: Segment, body: "Future[bytes] | None") -> Loaded:
        try:
            if body is None:
                raise MediaInvalid(segment.gap_reason or "it is marked as missing (EXT-X-GAP)")
            # Transfers end by their own limits, so waiting for them is bounded.
            raw = body.result()
            media = self._media(raw, segment.key)
            init = self._init(segment) if media.kind is Kind.MP4 else b""
            return Loaded(segment=segment, media=media, init=init, bytes_in=len(raw))
        except SourceError as error:
            may_return = isinstance(error, SourceUnavailable)
            return Loaded(segment=segment, problem=error.message, may_return=may_return)

    def _media(self, raw: bytes, key: SegmentKey | None) -> Media:
        if key is None:
            return identify(raw)
        try:
            known = self._key(key)
            with stage("decrypt"):
                clear = decrypt(raw, known, key.iv)
            return identify(clear)
        except MediaInvalid as error:
            raise MediaInvalid(f"decrypted, {error.message} (is its key the right one?)") from error

    def _init(self, segment: Segment) -> bytes:
        init = segment.init
        if init is None:
            return b""
        try:
            raw = self._share(init.uri, init.byte_range, None).result()
        except SourceError as error:
            raise _cannot_be_had("init (EXT-X-MAP)", error) from error
        # Packagers leave it in clear more often than not, whatever the playlist says.
        if init.key is not None and not is_mp4(raw):
            own = segment.key.iv if segment.key else ""
            raw = decrypt(raw, self._key(init.key), init.key.iv or own or "0" * 32)
        if not is_mp4(raw):
            raise MediaInvalid("its init (EXT-X-MAP) is no MP4")
        return raw

    def _key(self, key: SegmentKey) -> bytes:
        try:
            return check_key(self._share(key.uri, None, _KEY_LIMIT_BYTES).result())
        except SourceError as error:
            raise _cannot_be_had("key", error) from error

    def _share(self, uri: str, byte_range: ByteRange | None, limit: int | None) -> "Future[bytes]":
        resource = (uri, byte_range)
        if resource not in self._shared:
            work: Callable[[], bytes] = partial(self._fetch, uri, byte_range, limit)
            self._shared[resource] = self._executor.submit(work)
        return self._shared[resource]

    def _fetch(self, uri: str, byte_range: ByteRange | None, limit: int | None = None) -> bytes:
        limits = self._limits
        if limit is not None:
            limits = replace(limits, max_bytes=limit)
        return fetch(self._urls[uri], byte_range=byte_range, limits=limits)


def _cannot_be_had(what: str, error: SourceError) -> SourceError:
    kind = SourceUnavailable if isinstance(error, SourceUnavailable) else MediaInvalid
    return kind(f"its {what} cannot be had: {error.message}")


def references(segments: Iterable[Segment]) -> set[str]:
    """Everything that has to be fetched to read them."""
    found = set()
    for segment in segments:
        if not segment.is_gap:
            found.add(segment.uri)
            found.update(uri for uri, _, _ in _shared_resources(segment))
    return found


def _shared_resources(segment: Segment) -> Iterator[tuple[str, ByteRange | None, int | None]]:
    """Inits and keys, with the size limit that they have."""
    if segment.is_gap:
        return
    init: InitSection | None = segment.init
    if init is not None:
        yield init.uri, init.byte_range, None
    for key in (segment.key, init.key if init else None):
        if key is not None:
            yield key.uri, None, _KEY_LIMIT_BYTES
