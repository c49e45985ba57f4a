"""Segments read by FFmpeg's demuxers as one stream of packets, and which of its streams are kept.

FFmpeg sees only bytes handed to it, and is told what they are: nothing that it opens by itself.
"""

import io
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from pipeline.errors import MediaInvalid
from pipeline.media.bombs import MAX_STREAMS, refuse_bombs
from pipeline.media.limits import DEFAULT_LIMITS, MediaLimits
from pipeline.media.segments import Joined
from pipeline.media.sniff import Kind
from pipeline.timebase import TickMapping

BUFFER_BYTES = 256 * 1024
# What MP4 holds and browsers or common players take without conversion.
COPYABLE = frozenset(
    {"h264", "hevc", "av1", "vp9", "aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"}
)
# What everything plays, for what cannot be copied; and what FFmpeg can make here at all.
ANYWHERE = {"video": "h264", "audio": "aac"}
ENCODABLE = {
    "h264": "libx264",
    "hevc": "libx265",
    "aac": "aac",
    "mp3": "libmp3lame",
    "ac3": "ac3",
    "eac3": "eac3",
    "opus": "libopus",
}
_PROBE_ALL_US = 3600 * 1_000_000
# FFmpeg keeps what it probes: of the smallest packets a hundred times as much as they are.
_PROBE_MOST_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """``kept``: pictures first. ``dropped``: the others, as ``"timed_id3 data"``; ``lost``: those
    of them that are pictures or sound and can be neither copied nor decoded."""

    kept: tuple[Stream, ...]
    dropped: tuple[str, ...]
    lost: tuple[str, ...]


@contextmanager
def open_media(
    kind: Kind,
    pieces: Sequence[bytes],
    *,
    limits: MediaLimits = DEFAULT_LIMITS,
    thorough: bool = False,
) -> Iterator[InputContainer]:
    """The pieces as one file. ``thorough``: look for streams in all of it. Raises ``MediaInvalid``
    for what FFmpeg cannot read, also while it is used, and for what is above the limits."""
    if kind is Kind.MP4:
        refuse_bombs(pieces, limits)
    options = {"max_pixels": str(limits.max_pixels)}
    with media_errors():
        source = _open(kind, pieces, **options)
        if not kind.is_packed and (thorough or any(map(_is_unknown, source.streams))):
            # Its first packet comes later than FFmpeg looks of itself.
            source.close()
            size = min(_PROBE_MOST_BYTES, sum(map(len, pieces)))
            options |= {"probesize": str(size), "analyzeduration": str(_PROBE_ALL_US)}
            source = _open(kind, pieces, **options)
        with source:
            if len(source.streams) > MAX_STREAMS:
                raise MediaInvalid(f"it declares {len(source.streams)} streams")
            for stream in source.streams.video:
                if _can_be_kept(stream):
                    context = stream.codec_context
                    limits.refuse_picture(context.width or 0, context.height or 0)
                    context.options = {**context.options, "max_pixels": str(limits.max_pixels)}
            yield source


def choose_streams(source: InputContainer, programs: Collection[tuple[int, int]] = ()) -> Choice:
    """The best video stream and all sound that goes with it. ``programs``: ``(program, PID)`` of
    MPEG-TS. Raises ``MediaInvalid`` if there is neither."""
    videos = [s for s in source.streams.video if not s.disposition & s.disposition.attached_pic]
    usable = [s for s in videos if _can_be_kept(s)]
    best = max(usable, key=lambda s: s.codec_context.width or 0, default=None)
    sounds = [
        s
        for s in source.streams.audio
        if _can_be_kept(s) and s.codec_context.sample_rate and _goes_with(best, s, programs)
    ]
    kept: list[Stream] = [best] if best is not None else []
    kept += sounds
    others = [s for s in source.streams if s not in kept]
    lost = [s for s in others if s.type in ("video", "audio") and not _can_be_kept(s)]
    if not kept:
        what = ", ".join(map(describe, lost))
        raise MediaInvalid(f"{what} cannot be decoded" if what else "no video and no audio in it")
    return Choice(
        kept=tuple(kept),
        dropped=tuple(map(_describe_dropped, others)),
        lost=tuple(map(describe, lost)),
    )


def packets_of(
    source: InputContainer, kept: Sequence[Stream], limits: MediaLimits
) -> "Iterator[Packet[Stream]]":
    """All packets but the demuxer's empty ones. Raises ``LateStream``."""
    number = 0
    try:
        for packet in source.demux(kept):
            if packet.size:
                number += 1
                if number > limits.max_packets:
                    limits.refuse_packets(number)
                yield packet
    except IndexError as error:  # PyAV looks for a stream that it does not know.
        raise LateStream("a stream that nothing declared appears in it") from error


def times_of(packet: "Packet[Stream]", mapping: TickMapping) -> tuple[int, int]:
    pts = packet.pts if packet.pts is not None else packet.dts
    dts = packet.dts if packet.dts is not None else packet.pts
    assert pts is not None
    assert dts is not None
    return mapping(pts), mapping(dts)


def describe(stream: Stream) -> str:
    return f"{codec_name(stream)} {stream.type}"


def codec_name(stream: Stream) -> str:
    """The codec's own name, whichever decoder would read it (``av1``, not ``libdav1d``)."""
    context = getattr(stream, "codec_context", None)
    if context is not None:
        return str(context.codec.canonical_name)
    return str(getattr(stream, "name", None) or "unknown")


class LateStream(MediaInvalid):
    """A stream that was not there when FFmpeg looked for streams."""


@contextmanager
def media_errors() -> Iterator[None]:
    """FFmpeg's errors about bytes become ``MediaInvalid``."""
    try:
        yield
    except (av.error.BlockingIOError, av.error.EOFError) as error:
        raise MediaInvalid("it breaks off before FFmpeg can read it") from error
    except av.error.FFmpegError as error:
        raise MediaInvalid(f"FFmpeg cannot read it: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise MediaInvalid("FFmpeg cannot read it: metadata is no text") from error
    except (ValueError, ArithmeticError, LookupError, AssertionError) as error:
        # PyAV's, about numbers that make no sense: a segment's bytes must cost no more than it.
        raise MediaInvalid(f"it makes no sense: {type(error).__name__} {error}") from error


def _open(kind: Kind, pieces: Sequence[bytes], **options: str) -> InputContainer:
    data = io.BytesIO(pieces[0]) if len(pieces) == 1 else Joined(pieces)
    return av.open(
        data,
        "r",
        format=kind.value,
        # Formats that name further files or URLs find none that they may open.
        options={"protocol_whitelist": "none", **options},
        metadata_errors="replace",
        buffer_size=BUFFER_BYTES,
    )


def _is_unknown(stream: Stream) -> bool:
    """Declared sound or pictures of which nothing has been seen."""
    context: Any = stream.codec_context
    if stream.type == "audio":
        return context is not None and not context.sample_rate
    return stream.type == "video" and context is not None and not context.width


def _can_be_kept(stream: Stream) -> bool:
    # PyAV gives streams without a decoder no codec context.
    return getattr(stream, "codec_context", None) is not None


def _goes_with(video: Stream | None, audio: Stream, programs: Collection[tuple[int, int]]) -> bool:
    """Of several programs in one MPEG-TS, the one with the chosen pictures is kept. ``programs``:
    ``(program, PID)``."""
    if video is None:
        return True
    of_video = {program for program, pid in programs if pid == video.id}
    of_audio = {program for program, pid in programs if pid == audio.id}
    return not of_video or not of_audio or bool(of_video & of_audio)


def _describe_dropped(stream: Stream) -> str:
    if _can_be_kept(stream) and _is_unknown(stream):
        return f"{describe(stream)} (declared, but nothing of it came)"
    return describe(stream)
