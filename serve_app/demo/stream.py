"""The demo's stream: a moving test picture with a beep every second, as HLS in a folder; or the
user's own playlist, copied segment by segment."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import av
from av.container import OutputContainer
from av.filter import Graph
from av.video.frame import PictureType

from pipeline.errors import SourceError, SourceMissing, Unsupported
from pipeline.model import ByteRange, Segment, SegmentKey
from pipeline.settings import Settings
from pipeline.source import FileSource, Source, WebRules, WebSource, open_presentation
from pipeline.transfer import TransferLimits, fetch

SEGMENT_S = 4
_LIMITS = TransferLimits(timeout_s=60.0, attempts=3, retry_delay_s=1.0, max_bytes=512 * 2**20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One segment ready to be published: its file name, its bytes (none: it is missing), the lines
    before its URI, and the inits and keys that these name."""

    name: str
    data: bytes
    tags: tuple[str, ...]
    beside: tuple[tuple[str, bytes], ...] = ()


def make_stream(folder: Path, seconds: int) -> Path:
    """720p25 H.264 with B-frames and AAC in MPEG-TS; returns the playlist."""
    playlist = folder / "stream.m3u8"
    options = {
        "hls_time": str(SEGMENT_S),
        "hls_list_size": "0",
        "hls_playlist_type": "vod",
        "hls_segment_filename": str(folder / "segment-%05d.ts"),
    }
    with av.open(str(playlist), "w", format="hls", options=options) as target:
        _encode(target, seconds)
    return playlist


def _encode(target: OutputContainer, seconds: int) -> None:
    pictures = _graph(
        ("testsrc2", f"size=1280x720:rate=25:duration={seconds}"),
        ("format", "pix_fmts=yuv420p"),
        ("buffersink", ""),
    )
    sounds = _graph(
        ("sine", f"frequency=440:beep_factor=4:sample_rate=48000:duration={seconds}"),
        ("aformat", "sample_fmts=fltp:channel_layouts=stereo"),
        ("abuffersink", ""),
    )
    video = target.add_stream(
        "libx264",
        rate=25,
        options={
            "preset": "ultrafast",
            "g": "50",
            "sc_threshold": "0",
            "bf": "2",
            "b": "2500k",
            "maxrate": "3000k",
            "bufsize": "3000k",
        },
    )
    video.width, video.height, video.pix_fmt = 1280, 720, "yuv420p"
    audio = target.add_stream("aac", rate=48_000)
    audio.bit_rate = 128_000
    sound = next(sounds, None)
    for picture in pictures:
        # Both by time, as a live encoder would send them.
        while sound is not None and sound.time is not None and sound.time <= (picture.time or 0):
            target.mux(audio.encode(sound))
            sound = next(sounds, None)
        # The filter marks each picture as a keyframe; the encoder shall choose.
        picture.pict_type = PictureType.NONE
        target.mux(video.encode(picture))
    while sound is not None:
        target.mux(audio.encode(sound))
        sound = next(sounds, None)
    target.mux(video.encode(None))
    target.mux(audio.encode(None))


def _graph(*filters: tuple[str, str]) -> Iterator[Any]:
    graph = Graph()
    nodes = [graph.add(name, arguments) for name, arguments in filters]
    for before, behind in pairwise(nodes):
        before.link_to(behind)
    graph.configure()
    while True:
        try:
            yield graph.pull()
        except (av.error.EOFError, av.error.BlockingIOError):
            return


def check_input(reference: str, settings: Settings) -> None:
    """Raise the ``VodrayError`` that says why this playlist cannot be read."""
    found = open_presentation(_source(reference, settings))
    if found.sounds:
        raise Unsupported(
            f"{reference} keeps sound in playlists of its own, which the demo does not play",
            "vodray convert records it",
        )


def read_stream(reference: str, settings: Settings) -> Iterator[Item]:
    """The segments of any playlist, in order, renamed so that they lie side by side."""
    found = open_presentation(_source(reference, settings))
    for number, segment in enumerate(found.playlist.segments):
        if not segment.is_gap:
            yield _item(number, segment, found.source)


def _source(reference: str, settings: Settings) -> Source:
    if urlsplit(reference).scheme in ("http", "https"):
        rules = WebRules(settings.allowed_source_hosts)
        rules = rules.plus(urlsplit(reference).hostname or "")
        return WebSource(reference, rules, settings.playlist_limits)
    path = Path(reference)
    if not path.is_file():
        raise SourceMissing(f"There is no playlist at {reference}")
    return FileSource(path, limits=settings.playlist_limits)


def _item(number: int, segment: Segment, source: Source) -> Item:
    copied = _Copied(source)
    tags = ["#EXT-X-DISCONTINUITY"] if segment.discontinuity else []
    if segment.init is not None:
        tags.append(copied.key_tag(segment.init.key))
        name = copied.file(segment.init.uri, segment.init.byte_range, ".mp4")
        tags.append(f'#EXT-X-MAP:URI="{name}"')
    try:
        tags.append(copied.key_tag(segment.key))
        data = copied.read(segment.uri, segment.byte_range)
    except SourceError:
        # The platform lists it all the same; what becomes of it is for vodray to tell.
        data = b""
    suffix = Path(urlsplit(source.url(source.resolve(segment.uri))).path).suffix[:8] or ".ts"
    return Item(
        name=f"segment-{number:05d}{suffix}",
        beside=tuple(copied.files.items()),
        data=data,
        tags=(*tags, f"#EXTINF:{segment.duration_s:.6f},"),
    )


class _Copied:
    """What is copied for one segment. ``files``: by the name that each gets."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.files: dict[str, bytes] = {}

    def read(self, uri: str, byte_range: ByteRange | None) -> bytes:
        url = self._source.url(self._source.resolve(uri))
        return fetch(url, byte_range=byte_range, limits=_LIMITS)

    def file(self, uri: str, byte_range: ByteRange | None, suffix: str) -> str:
        data = self.read(uri, byte_range)
        name = f"{hashlib.sha256(data).hexdigest()[:16]}{suffix}"
        self.files[name] = data
        return name

    def key_tag(self, key: SegmentKey | None) -> str:
        if key is None:
            return "#EXT-X-KEY:METHOD=NONE"
        iv = f",IV=0x{key.iv}" if key.iv else ""
        return f'#EXT-X-KEY:METHOD=AES-128,URI="{self.file(key.uri, None, ".key")}"{iv}'
