"""Where a stream's playlist and segments are, and what a playlist may point to.

References are absolute: ``s3://bucket/key``, ``http(s)://...``, ``file:///...``. A playlist can
make us read only its own bucket, its own folder, or its own host and ``ALLOWED_SOURCE_HOSTS``.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote, urljoin, urlsplit

from pipeline.errors import (
    ObjectMissing,
    PlaylistInvalid,
    SourceError,
    SourceForbidden,
    SourceMissing,
    SourceUnavailable,
    UsageError,
)
from pipeline.hosts import HostAndPort, canonical
from pipeline.media.growing import GrowingPlaylist
from pipeline.media.master import AudioRendition
from pipeline.media.playlist import (
    MasterPlaylist,
    MediaPlaylist,
    PlaylistLimits,
    Variant,
    parse,
)
from pipeline.model import Segment, Sound
from pipeline.stores.objects import ObjectStore
from pipeline.stores.objects_files import file_of
from pipeline.transfer import TransferLimits, fetch
from pipeline.uris import shown_uri, unsigned

_PLAYLIST_TIMEOUT_S = 30.0
DEFAULT_LIMITS = PlaylistLimits()
_URL_LIFETIME_S = 24 * 3600
MAX_SOUNDS = 32
# Each that cannot be read may take minutes to say so.
MAX_VARIANTS = 16
_PORTS = {"http": 80, "https": 443}
_SHOWN = 200
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Source(Protocol):
    """One playlist's home. Calls block."""

    ref: str
    limits: PlaylistLimits

    def read_playlist(self) -> bytes:
        """Raises ``SourceMissing``, ``SourceUnavailable``, ``SourceForbidden``."""

    def resolve(self, uri: str) -> str:
        """The absolute reference of a URI in the playlist. Raises ``SourceForbidden``."""

    def url(self, ref: str) -> str:
        """A URL that a worker can fetch without any key."""

    def sizes(self) -> Mapping[str, int]:
        """Sizes in bytes by reference, as far as they can be listed cheaply."""

    def variant(self, uri: str) -> "Source":
        """The source of another playlist that this one names."""

    def identity(self, ref: str) -> str:
        """What changes with the content of ``ref``, as far as its home tells; may be empty."""


@contextmanager
def _address_errors() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise SourceForbidden(f"A reference that is no address: {error}") from error


class S3Source:
    """A playlist in a bucket of the object store."""

    def __init__(
        self,
        store: ObjectStore,
        bucket: str,
        key: str,
        web: "WebRules | None" = None,
        limits: PlaylistLimits = DEFAULT_LIMITS,
    ) -> None:
        self.ref, self.limits = f"s3://{bucket}/{key}", limits
        self._store, self._bucket, self._key = store, bucket, key
        self._web = web or WebRules()

    def read_playlist(self) -> bytes:
        try:
            return self._store.get(self._bucket, self._key, max_bytes=self.limits.max_bytes)
        except ObjectMissing as error:
            raise SourceMissing(f"There is no playlist at {self.ref}") from error

    @_address_errors()
    def resolve(self, uri: str) -> str:
        if urlsplit(uri).scheme in ("http", "https"):
            return self._web.check(uri)
        path = unquote(urlsplit(urljoin(f"http://bucket/{quote(self._key)}", uri)).path)
        if _CONTROL.search(path):
            raise SourceForbidden(f"{self.ref} names an object with control characters")
        parts = urlsplit(uri)
        if parts.scheme or parts.netloc or _climbs_out(self._key, uri, path):
            raise SourceForbidden(
                f"The playlist {self.ref} points outside its bucket: {shown_uri(uri)}"
            )
        return f"s3://{self._bucket}{path}"

    def url(self, ref: str) -> str:
        if not ref.startswith("s3://"):
            return ref
        bucket, _, key = ref.removeprefix("s3://").partition("/")
        return self._store.presign_get(bucket, key, expires_s=_URL_LIFETIME_S)

    def sizes(self) -> Mapping[str, int]:
        folder = self._key.rpartition("/")[0]
        prefix = f"{folder}/" if folder else ""
        listed = self._store.list(self._bucket, prefix)
        return {f"s3://{self._bucket}/{found.key}": found.size_bytes for found in listed}

    def identity(self, ref: str) -> str:
        if not ref.startswith("s3://"):
            return ""
        bucket, _, key = ref.removeprefix("s3://").partition("/")
        try:
            return self._store.stat(bucket, key).etag
        except ObjectMissing:
            return ""

    def variant(self, uri: str) -> "Source":
        ref = self.resolve(uri)
        if not ref.startswith("s3://"):
            return WebSource(ref, self._web, self.limits)
        bucket, _, key = ref.removeprefix("s3://").partition("/")
        return S3Source(self._store, bucket, key, self._web, self.limits)


def _climbs_out(key: str, uri: str, resolved: str) -> bool:
    """Whether the URI goes above the bucket's top, where URL rules would stop without a word."""
    relative = unquote(urlsplit(uri).path)
    depth = 0 if relative.startswith("/") else key.count("/")
    for part in relative.split("/"):
        depth += -1 if part == ".." else part not in ("", ".")
        if depth < 0:
            return True
    return ".." in resolved.split("/")


class WebRules:
    """Which hosts may be read over HTTP."""

    def __init__(self, allowed_hosts: Sequence[str] = ()) -> None:
        self._allowed = frozenset(map(HostAndPort.parse, allowed_hosts))

    @_address_errors()
    def plus(self, host: str) -> "WebRules":
        """Every port of ``host`` as well: the one that somebody typed."""
        more = WebRules()
        more._allowed = self._allowed | {HostAndPort(canonical(host), None)}
        return more

    @_address_errors()
    def check(self, url: str) -> str:
        """The URL itself. Raises ``SourceForbidden`` for a host that is not allowed."""
        parts = urlsplit(url)
        if parts.scheme not in _PORTS:
            raise SourceForbidden(f"Of {shown_uri(url)} only http and https may be read")
        host = canonical(parts.hostname or "")
        asked = {HostAndPort(host, None), HostAndPort(host, parts.port or _PORTS[parts.scheme])}
        if not asked & self._allowed:
            raise SourceForbidden(
                f"The host {parts.hostname} may not be read",
                "Name it in ALLOWED_SOURCE_HOSTS if it should be",
            )
        return url


class WebSource:
    """A playlist behind an ``http(s)`` URL."""

    def __init__(self, url: str, rules: WebRules, limits: PlaylistLimits = DEFAULT_LIMITS) -> None:
        self.ref, self.limits = rules.check(url), limits
        self._rules = rules
        self._transfer = TransferLimits(
            timeout_s=_PLAYLIST_TIMEOUT_S,
            attempts=3,
            retry_delay_s=1.0,
            max_bytes=limits.max_bytes,
        )

    def read_playlist(self) -> bytes:
        return fetch(self.ref, byte_range=None, limits=self._transfer)

    @_address_errors()
    def resolve(self, uri: str) -> str:
        return self._rules.check(urljoin(self.ref, uri))

    def url(self, ref: str) -> str:
        return ref

    def sizes(self) -> Mapping[str, int]:
        return {}

    def identity(self, ref: str) -> str:  # noqa: ARG002
        return ""

    def variant(self, uri: str) -> "Source":
        return WebSource(self.resolve(uri), self._rules, self.limits)


class FileSource:
    """A playlist file; what it names must lie in its folder or below."""

    def __init__(
        self, path: Path, folder: Path | None = None, limits: PlaylistLimits = DEFAULT_LIMITS
    ) -> None:
        self.limits = limits
        self._path = path.resolve()
        self._folder = (folder or self._path.parent).resolve()
        self.ref = self._path.as_uri()

    def read_playlist(self) -> bytes:
        try:
            if self._path.is_file():
                with self._path.open("rb") as file:
                    return file.read(self.limits.max_bytes + 1)
            reason = ""
        except OSError as error:
            reason = f": {error.strerror}"
        raise SourceMissing(f"There is no playlist at {str(self._path)[:_SHOWN]}{reason}")

    @_address_errors()
    def resolve(self, uri: str) -> str:
        parts = urlsplit(uri)
        target = (self._path.parent / unquote(parts.path)).resolve()
        if parts.scheme or parts.netloc or not target.is_relative_to(self._folder):
            raise SourceForbidden(
                f"The playlist {self._path} points outside its folder: {shown_uri(uri)}"
            )
        return target.as_uri()

    def url(self, ref: str) -> str:
        return ref

    def sizes(self) -> Mapping[str, int]:
        return {
            path.resolve().as_uri(): path.stat().st_size
            for path in self._path.parent.iterdir()
            if path.is_file()
        }

    def identity(self, ref: str) -> str:  # noqa: ARG002
        return ""

    def variant(self, uri: str) -> "Source":
        ref = self.resolve(uri)
        return FileSource(file_of(ref), self._folder, self.limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundSource:
    """A playlist of sound alone; None if it cannot be read, and ``problem`` says why."""

    sound: Sound
    source: Source
    playlist: MediaPlaylist | None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """``variant`` of ``master`` is recorded, since none of those ranked before it can be read:
    ``passed_over`` has them, each with the reason."""

    master: MasterPlaylist
    variant: Variant
    passed_over: tuple[tuple[Variant, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Presentation:
    """What is recorded of a stream: a media playlist, and those of sound that go with it.
    ``choice``: None where there is no Master Playlist; ``dropped``: what that names besides,
    and which better variants cannot be read, for people."""

    source: Source
    playlist: MediaPlaylist
    sounds: tuple[SoundSource, ...] = ()
    dropped: tuple[str, ...] = ()
    choice: Choice | None = None


def open_presentation(source: Source, *, sounds_within_s: float | None = None) -> Presentation:
    """The source itself, or of a Master Playlist the best variant that is there and lists anything.

    ``sounds_within_s``: for so long are playlists of sound waited for, None: until they are read or
    cannot be. A live window moves on meanwhile.
    """
    ref = shown_uri(source.ref)
    playlist = parse(source.read_playlist(), ref, source.limits)
    if isinstance(playlist, MediaPlaylist):
        return Presentation(source=source, playlist=playlist)
    problem: SourceError | None = None
    passed_over: list[tuple[Variant, str]] = []
    for variant in playlist.ranked()[:MAX_VARIANTS]:
        try:
            main = source.variant(variant.uri)
            found = read_media_playlist(main)
            if not found.segments:
                raise PlaylistInvalid(f"{shown_uri(main.ref)} lists no segments")
        except SourceError as error:
            problem = problem or error
            passed_over.append((variant, error.message))
            continue
        audios = [audio for audio in playlist.audio_of(variant) if audio.uri]
        return Presentation(
            source=main,
            playlist=found,
            sounds=_open_sounds(source, audios[:MAX_SOUNDS], sounds_within_s),
            dropped=(*playlist.dropped, *starmap(_passed_over, passed_over)),
            choice=Choice(master=playlist, variant=variant, passed_over=tuple(passed_over)),
        )
    raise problem or PlaylistInvalid(f"{ref} is a master playlist without variants")


def _passed_over(variant: Variant, reason: str) -> str:
    size = f" of {variant.width}x{variant.height}" if variant.height else ""
    return f"variant{size} at {variant.bandwidth} bit/s: {reason}"


def _open_sounds(
    master: Source, audios: Sequence[AudioRendition], within_s: float | None
) -> tuple[SoundSource, ...]:
    """Side by side: one that hangs takes the others' time only where all are waited for."""
    if not audios:
        return ()
    threads = ThreadPoolExecutor(len(audios), thread_name_prefix="sound")
    try:
        opening = [threads.submit(_open_sound, master, audio) for audio in audios]
        done, _ = wait(opening, timeout=within_s)
        return tuple(
            each.result() if each in done else _open_sound(master, audio, may_read=False)
            for each, audio in zip(opening, audios, strict=True)
        )
    finally:
        threads.shutdown(wait=False)


def _open_sound(master: Source, audio: AudioRendition, *, may_read: bool = True) -> SoundSource:
    sound = Sound(name=audio.name, language=audio.language)
    source = master
    try:
        source = master.variant(audio.uri or "")
        if not may_read:
            raise SourceUnavailable(f"{shown_uri(source.ref)} did not come in time")
        return SoundSource(sound=sound, source=source, playlist=read_media_playlist(source))
    except SourceError as error:
        return SoundSource(sound=sound, source=source, playlist=None, problem=error.message)


def read_media_playlist(source: Source, growing: GrowingPlaylist | None = None) -> MediaPlaylist:
    """``growing``: what is known of an earlier state of it."""
    read = parse if growing is None else growing.read
    ref = shown_uri(source.ref)
    playlist = read(source.read_playlist(), ref, source.limits)
    if isinstance(playlist, MasterPlaylist):
        raise PlaylistInvalid(f"{ref} is a master playlist inside a master playlist")
    return playlist


def fingerprint(source: Source, first: Segment) -> str:
    """Identifies a broadcast by where its first segment is and what is in it (hex)."""
    ref = source.resolve(first.uri)
    return mark_of(first, ref, source.identity(ref))


def mark_of(first: Segment, ref: str, identity: str) -> str:
    """Of a broadcast that begins with this segment; ``identity``: see ``Source``."""
    place = unsigned(ref) if urlsplit(ref).scheme in _PORTS else ref
    moment = first.program_date_time.isoformat() if first.program_date_time else ""
    text = "\n".join((place, str(first.sequence), moment, identity))
    return hashlib.sha256(text.encode()).hexdigest()


def open_source(
    ref: str,
    *,
    store: ObjectStore | None,
    source_bucket: str,
    allowed_hosts: Sequence[str],
    limits: PlaylistLimits = DEFAULT_LIMITS,
) -> Source:
    """The source that an event's ``hls_path`` names: ``bucket/key``, a key, ``s3://`` or a URL.

    Only ``source_bucket`` may be read of all buckets; never a local file.
    """
    web = WebRules(allowed_hosts)
    if urlsplit(ref).scheme in ("http", "https"):
        return WebSource(ref, web, limits)
    if store is None:
        raise UsageError(f"{ref} needs an object store", "Set MINIO_ENDPOINT and its keys")
    if ref.startswith("s3://"):
        bucket, _, key = ref.removeprefix("s3://").partition("/")
        if bucket != source_bucket:
            raise SourceForbidden(
                f"The bucket {bucket} may not be read", f"Streams are read from {source_bucket}"
            )
    else:
        key = ref.lstrip("/").removeprefix(f"{source_bucket}/")
    if not key or ".." in key.split("/"):
        raise SourceForbidden(f"{ref} is no key of the bucket {source_bucket}")
    return S3Source(store, source_bucket, key, web, limits)
