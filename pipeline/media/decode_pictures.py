"""Copied pictures of one piece of source, decoded from their samples in the order in which they are
shown.

FFmpeg's demuxer for MP4 has no part in it: it moves times where composition offsets are negative.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from pipeline.media.entries import read_forms
from pipeline.media.images import open_decoder, pixel_aspect
from pipeline.media.interleave import Body
from pipeline.media.limits import MediaLimits
from pipeline.media.tables import sample_offsets


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """Copied pictures of one piece of source.

    ``lead``: those before it, in order: an open GOP at the start refers to them, but they are not
    put out. ``next_s``: when the first picture behind the piece is shown, on the same clock; None
    if nothing is known to go on there.
    """

    body: Body
    lead: tuple[Body, ...] = ()
    next_s: Fraction | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """``pts``, ``duration``: in ticks of its track. ``is_key``: the source has a keyframe there;
    ``aspect``: of a pixel."""

    frame: VideoFrame
    pts: int
    duration: int
    is_key: bool
    aspect: Fraction


def decoded(given: Pictures, limits: MediaLimits) -> Iterator[Picture]:
    """Each picture of the piece that can be decoded, times strictly increasing. Raises
    ``MediaInvalid`` for a sample entry that is not known or damaged."""
    entry = _entry(given.body)
    decoder = open_decoder(entry, limits)
    decoder.copy_opaque = True
    for body in _lead(given.lead, entry):
        for _, packet in _packets(body):
            _decode(decoder, packet)
    yield from _Own(given.body, decoder, pixel_aspect(entry)).pictures()


class _Own:
    """The pictures of one body. A packet carries the number of its sample through the decoder."""

    def __init__(self, body: Body, decoder: VideoCodecContext, aspect: Fraction) -> None:
        self._body, self._decoder, self._aspect = body, decoder, aspect
        # Of samples that are not shown yet: the decoder knows only that of the latest.
        self._aspects: dict[int, Fraction] = {}
        self._last_pts: int | None = None

    def pictures(self) -> Iterator[Picture]:
        for number, packet in _packets(self._body):
            # Of its own: PyAV keeps all of a process by address, and small numbers share theirs.
            packet.opaque = [number]
            frames = _decode(self._decoder, packet)
            self._aspects[number] = self._decoder.sample_aspect_ratio or self._aspect
            yield from self._shown(frames)
        yield from self._shown(_decode(self._decoder, None))

    def _shown(self, frames: Sequence[VideoFrame]) -> Iterator[Picture]:
        track = self._body.span.tracks[0]
        for frame in frames:
            # None: of the lead.
            opaque: Any = frame.opaque
            number = opaque[0] if opaque is not None else -1
            aspect = self._aspects.pop(number, None)
            # None: the second one of a sample.
            if aspect is None or frame.is_corrupt:
                continue
            pts = int(track.dts[number] + track.cts[number])
            # Times that are not in the order of the pictures give way.
            if self._last_pts is not None:
                pts = max(pts, self._last_pts + 1)
            self._last_pts = pts
            duration, is_key = int(track.duration[number]), bool(track.key[number])
            yield Picture(frame, pts, duration, is_key, aspect)


def _decode(decoder: VideoCodecContext, packet: "Packet[Any] | None") -> list[VideoFrame]:
    """Nothing for what is damaged: it costs no other picture."""
    try:
        return decoder.decode(packet)
    except av.error.FFmpegError:
        return []


def _packets(body: Body) -> "Iterator[tuple[int, Packet[Any]]]":
    """Samples with their numbers. Those without a byte would mean the end to a decoder."""
    track = body.span.tracks[0]
    offsets = sample_offsets(track.run_offset, track.run_count, track.size)
    for number in track.size.nonzero()[0]:
        at, size = int(offsets[number]), int(track.size[number])
        packet: Packet[Any] = Packet(bytes(body.data[at : at + size]))
        packet.time_base = Fraction(1, track.timescale)
        packet.dts = int(track.dts[number])
        packet.pts = packet.dts + int(track.cts[number])
        yield int(number), packet


def _lead(lead: Sequence[Body], entry: bytes) -> Sequence[Body]:
    """Behind another sample entry begins another coded sequence, which refers to nothing before."""
    first = len(lead)
    while first and _entry(lead[first - 1]) == entry:
        first -= 1
    return lead[first:]


def _entry(body: Body) -> bytes:
    return read_forms(body.span.init)[0].entry
