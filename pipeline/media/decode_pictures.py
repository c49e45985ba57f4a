"""Copied pictures of one piece of source, decoded from their samples in the order in which they are
shown.

FFmpeg's demuxer for MP4 has no part in it: it moves times where composition offsets are negative.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from pipeline.errors import MediaInvalid
from pipeline.media.entries import pixel_aspect, read_forms
from pipeline.media.images import open_decoder
from pipeline.media.interleave import Body
from pipeline.media.limits import MediaLimits
from pipeline.media.mastering import Light
from pipeline.media.tables import sample_offsets
from pipeline.stages import stage


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """Copied pictures of one piece of source.

    ``before``, ``after``: those that it goes on from and that go on from it, made when they are
    needed; they are not put out. ``next_s``: when the first picture behind the piece is shown, on
    the same clock; None if nothing is known to go on there.
    """

    body: Body
    before: Callable[[], Body | None] = _nothing
    after: Callable[[], Body | None] = _nothing
    next_s: Fraction | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """``sample``: its number; ``pts``, ``duration``: in ticks of its track. ``is_key``,
    ``is_interlaced``: the source has a keyframe there, two fields; ``aspect``: of a pixel;
    ``light``: what the sample entry tells of it."""

    frame: VideoFrame
    sample: int
    pts: int
    duration: int
    is_key: bool
    is_interlaced: bool
    aspect: Fraction
    light: Light


def decoded(given: Pictures, limits: MediaLimits, *, first: int = 0) -> Iterator[Picture]:
    """Each picture of the piece that can be decoded, times strictly increasing. ``first``: the
    number of the sample to begin with. Raises ``MediaInvalid`` for a sample entry that is not known
    or damaged."""
    entry = _entry(given.body)
    decoder = open_decoder(entry, limits)
    decoder.copy_opaque = True
    lead = None if _is_closed(given.body) else given.before()
    # Behind another sample entry begins another coded sequence, which refers to nothing before.
    if lead is not None and _entry(lead) == entry:
        for _, packet in _packets(lead, _last_key(lead)):
            _decode(decoder, packet)
    yield from _Own(given.body, decoder, entry).pictures(first)


def last_before(given: Pictures, limits: MediaLimits) -> VideoFrame | None:
    """The picture that is shown before the first one of the piece."""
    body = given.before()
    if body is None:
        return None
    with suppress(MediaInvalid):
        for picture in deque(decoded(Pictures(body=body), limits, first=_last_key(body)), 1):
            return picture.frame
    return None


def first_after(given: Pictures, limits: MediaLimits) -> VideoFrame | None:
    """The picture that is shown behind the last one of the piece."""
    body = given.after()
    if body is None:
        return None
    with suppress(MediaInvalid):
        for picture in decoded(Pictures(body=body, before=lambda: given.body), limits):
            return picture.frame
    return None


class _Own:
    """The pictures of one body. A packet carries the number of its sample through the decoder."""

    def __init__(self, body: Body, decoder: VideoCodecContext, entry: bytes) -> None:
        self._body, self._decoder = body, decoder
        self._aspect, self._light = pixel_aspect(entry), Light.in_entry(entry)
        # Of samples that are not shown yet: the decoder knows only that of the latest.
        self._aspects: dict[int, Fraction] = {}
        self._last_pts: int | None = None

    def pictures(self, first: int) -> Iterator[Picture]:
        for number, packet in _packets(self._body, first):
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
            yield Picture(
                frame=frame,
                sample=number,
                pts=pts,
                duration=int(track.duration[number]),
                is_key=bool(track.key[number]),
                is_interlaced=frame.interlaced_frame,
                aspect=aspect,
                light=self._light,
            )


def undecoded(body: Body, shown: Mapping[int, bool]) -> int:
    """How many samples gave no picture. ``shown``: which did, and whether it is interlaced: with a
    sample for each field, the second one of a picture gives none."""
    count = len(body.span.tracks[0].size)
    fields = [sample + 1 for sample, is_interlaced in shown.items() if is_interlaced]
    second = sum(sample < count and sample not in shown for sample in fields)
    missing = count - len(shown)
    return missing - second if 2 * second > len(fields) else missing


def _decode(decoder: VideoCodecContext, packet: "Packet[Any] | None") -> list[VideoFrame]:
    """Nothing for what is damaged: it costs no other picture."""
    try:
        with stage("decode"):
            return decoder.decode(packet)
    except av.error.FFmpegError:
        return []


def _packets(body: Body, first: int) -> "Iterator[tuple[int, Packet[Any]]]":
    """Samples with their numbers, from the ``first`` on. Those without a byte would mean the end to
    a decoder."""
    track = body.span.tracks[0]
    offsets = sample_offsets(track.run_offset, track.run_count, track.size)
    for number in track.size.nonzero()[0]:
        if number < first:
            continue
        at, size = int(offsets[number]), int(track.size[number])
        packet: Packet[Any] = Packet(bytes(body.data[at : at + size]))
        packet.time_base = Fraction(1, track.timescale)
        packet.dts = int(track.dts[number])
        packet.pts = packet.dts + int(track.cts[number])
        yield int(number), packet


def _is_closed(body: Body) -> bool:
    """Whether it begins with a keyframe and no picture before that refers to what came earlier."""
    track = body.span.tracks[0]
    return bool(track.key[0]) and int(track.pts.min()) == int(track.pts[0])


def _last_key(body: Body) -> int:
    """The number of the sample from which on its last pictures can be decoded."""
    key = body.span.tracks[0].key
    last = int(key.nonzero()[0][-1]) if key.any() else 0
    # That may be the second field of a picture.
    return last - 1 if last and key[last - 1] else last


def _entry(body: Body) -> bytes:
    return read_forms(body.span.init)[0].entry
