"""Streams that cannot be copied are decoded and encoded anew, with the times that they have: H.264
and AAC, which everything plays.

One picture comes out for each that can be decoded. Sound lies on one grid of 1024 samples over the
whole recording: whoever encodes a chunk starts before it and stops behind it, and keeps the frames
that begin inside, so that nothing is heard at the joins.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from heapq import heappop, heappush
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame

from pipeline.errors import MediaInvalid
from pipeline.media.demux import ANYWHERE, ENCODABLE, choose_streams, codec_name
from pipeline.media.muxing import Muxer
from pipeline.media.remux import (
    Input,
    Remuxed,
    copy_of,
    is_copied,
    is_torn_adts,
    placed_packets,
    to_mp4_form,
)
from pipeline.timebase import TS_WRAP_S, TickMapping

# Pictures in the order in which they are shown, keyframes where the source has them.
_ENCODERS = {
    "h264": {
        "preset": "veryfast",
        "crf": "20",
        "bf": "0",
        "x264-params": "scenecut=0:keyint=infinite",
    },
    "hevc": {
        "preset": "veryfast",
        "crf": "22",
        "x265-params": "bframes=0:scenecut=0:keyint=-1:log-level=none:pools=none",
    },
}
_AAC_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 8_000)
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}
_BITS_PER_CHANNEL = 80_000
# Timestamps of sound are rounded; a step below this is no pause.
_STEADY_S = 0.04
_MAX_SILENCE_S = 30.0
_SET_BACK_S = 0.5


def recode(given: Input, *, everything: bool = False) -> Remuxed:
    """Copy what can be copied, encode the rest; ``everything``: encode all.

    Raises ``MediaInvalid`` if nothing can be decoded.
    """
    with given.open(thorough=True) as source, ExitStack() as stack:
        choice = choose_streams(source, given.programs())
        muxer = Muxer([stream.type for stream in choice.kept])
        stack.callback(muxer.abandon)
        clock, own = given.clock(), given.own_bytes
        lanes: dict[int, _Copied | _Pictures | _Sound] = {}
        for stream in choice.kept:
            assert stream.time_base is not None
            mapping = clock.mapping(stream.time_base)
            if is_copied(stream, given.form) and not everything:
                lanes[stream.index] = _Copied(stream, muxer, mapping)
            elif stream.type == "video":
                target = _target(given.form.video, "video")
                lanes[stream.index] = _Pictures(stream, muxer, mapping, target)
            else:
                target = _target(given.form.audio, "audio")
                lanes[stream.index] = _Sound(stream, muxer, mapping, target)
        steps = _Steps(choice.kept)
        for packet, position in placed_packets(source, choice.kept, given.limits):
            where = -1 if position < own.start else int(position >= own.stop)
            if where == 0:
                steps.check(packet)
            lanes[packet.stream_index].take(packet, where)
        written = _write(muxer, list(lanes.values()))
        return Remuxed(
            data=muxer.close(),
            dropped=choice.dropped,
            lost=choice.lost,
            packets=written,
            torn=sum(lane.torn for lane in lanes.values()),
            recoded=tuple(lane.what for lane in lanes.values() if lane.what),
            undecoded=sum(lane.undecoded for lane in lanes.values()),
            undecoded_s=max(lane.undecoded_s for lane in lanes.values()),
        )


class _Steps:
    """Refuses a clock that is set back on the way: its pictures would lie among earlier ones."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        self._last: dict[int, int] = {}
        self._wrap = {
            s.index: int(TS_WRAP_S / 2 / s.time_base) for s in streams if s.time_base is not None
        }

    def check(self, packet: "Packet[Stream]") -> None:
        if packet.dts is None:
            return
        back = self._last.get(packet.stream_index, packet.dts) - packet.dts
        if 0 < back < self._wrap[packet.stream_index] and back * packet.time_base > _SET_BACK_S:
            raise MediaInvalid("its clock is set back")
        self._last[packet.stream_index] = packet.dts


def _target(codec: str, kind: str) -> str:
    """The recording's own codec, where it can be made."""
    return codec if codec in ENCODABLE else ANYWHERE[kind]


def _write(muxer: Muxer, lanes: "Sequence[_Copied | _Pictures | _Sound]") -> int:
    """All packets in the order of their decode times: returns how many."""
    packets: list[Packet[Any]] = []
    for lane in lanes:
        packets += lane.finish()
    if not packets:
        raise MediaInvalid("nothing of it can be decoded")
    packets.sort(key=_decode_time)
    for packet in packets:
        muxer.mux(packet)
    return len(packets)


def _decode_time(packet: "Packet[Any]") -> float:
    assert packet.dts is not None
    return packet.dts * float(packet.time_base)


class _Copied:
    """A stream that is copied beside one that is not."""

    what = ""
    undecoded = 0
    undecoded_s = 0.0

    def __init__(self, stream: Stream, muxer: Muxer, mapping: TickMapping) -> None:
        self.torn = 0
        self._mapping, self._packets = mapping, []  # type: tuple[TickMapping, list[Packet[Any]]]
        self._out, self._filter = copy_of(stream, muxer.container), to_mp4_form(stream)

    def take(self, packet: "Packet[Stream]", where: int) -> None:
        if where or (packet.pts is None and packet.dts is None):
            return
        if self._filter is not None and is_torn_adts(packet):
            self.torn += 1
            return
        packet.pts, packet.dts = _times(packet, self._mapping)
        for ready in [packet] if self._filter is None else self._filter.filter(packet):
            ready.stream = self._out
            self._packets.append(ready)

    def finish(self) -> "list[Packet[Any]]":
        return self._packets


def _times(packet: "Packet[Stream]", mapping: TickMapping) -> tuple[int, int]:
    pts = packet.pts if packet.pts is not None else packet.dts
    dts = packet.dts if packet.dts is not None else packet.pts
    assert pts is not None
    assert dts is not None
    return mapping(pts), mapping(dts)


class _Pictures:
    """Decodes, and encodes each picture at its own time."""

    torn = 0

    def __init__(self, stream: Stream, muxer: Muxer, mapping: TickMapping, target: str) -> None:
        context: Any = stream.codec_context
        context.thread_count = 1
        self._mapping, self._context = mapping, context
        self._stream, self._muxer, self._target = stream, muxer, target
        self.what = f"{codec_name(stream)} -> {target}"
        self._expected: list[int] = []
        self._own: dict[int, tuple[int, bool]] = {}
        self._last: int | None = None
        self._shown: dict[int, None] = {}
        self._out: Any = None
        # Some codecs tell the size of their pictures with the first of them; all others have the
        # first track, as in pieces that are copied.
        if context.width and context.height:
            self._begin(context.width, context.height)
        self._packets: list[Packet[Any]] = []

    @property
    def undecoded(self) -> int:
        return len(self._own) - len(self._shown)

    @property
    def undecoded_s(self) -> float:
        times = sorted(self._own)
        if len(times) < 2:
            return 0.0
        step = (times[-1] - times[0]) / (len(times) - 1)
        return self.undecoded * step * float(self._stream.time_base or 0)

    def take(self, packet: "Packet[Stream]", where: int) -> None:
        if where > 0 or (packet.pts is None and packet.dts is None):
            return
        pts, dts = _times(packet, self._mapping)
        while pts in self._own:  # Some muxers give two pictures one time.
            pts += 1
        packet.pts, packet.dts = pts, dts
        if where == 0:
            self._own[pts] = (dts, packet.is_keyframe)
        heappush(self._expected, pts)
        self._decode(packet)

    def finish(self) -> "list[Packet[Any]]":
        """Pictures are encoded in the order in which they are shown, each decoded when one of the
        source's would have been: not later than it is shown."""
        self._decode(None)
        if self._shown:
            self._packets += self._out.codec_context.encode(None)
        decode_times = sorted(self._own[pts][0] for pts in self._shown)
        for packet, dts in zip(self._packets, decode_times, strict=True):
            assert packet.pts is not None
            packet.stream, packet.dts = self._out, min(dts, packet.pts)
        return self._packets

    def _begin(self, width: int, height: int) -> None:
        self._out = self._muxer.container.add_stream(
            ENCODABLE[self._target],
            rate=_rate(self._stream),
            options=dict(_ENCODERS[self._target]),
        )
        encoder = self._out.codec_context
        _describe_pictures(encoder, self._context, (width, height), self._stream)

    def _decode(self, packet: "Packet[Stream] | None") -> None:
        try:
            frames = self._context.decode(packet)
        except av.error.FFmpegError:
            return
        for frame in frames:
            self._show(frame)

    def _show(self, frame: VideoFrame) -> None:
        pts = frame.pts if frame.pts is not None else self._expected[0] if self._expected else None
        while self._expected and pts is not None and self._expected[0] <= pts:
            heappop(self._expected)
        if pts is None or pts not in self._own or pts in self._shown:
            return
        # Times that are not in the order of the pictures give way.
        self._last = pts if self._last is None else max(pts, self._last + 1)
        self._shown[pts] = None
        if self._out is None:
            self._begin(frame.width, frame.height)
        context = self._out.codec_context
        picture = frame.reformat(width=context.width, height=context.height, format=context.pix_fmt)
        picture.pts, picture.time_base = self._last, context.time_base
        picture.pict_type = (
            av.video.frame.PictureType.I
            if self._own[pts][1] or len(self._shown) == 1
            else av.video.frame.PictureType.NONE
        )
        self._packets += context.encode(picture)


def _rate(stream: Stream) -> Fraction:
    rate = getattr(stream, "guessed_rate", None) or getattr(stream, "average_rate", None)
    return min(Fraction(rate), Fraction(240)) if rate else Fraction(25)


def _describe_pictures(target: Any, source: Any, size: tuple[int, int], stream: Stream) -> None:
    """Size, shape and colours as they are; sides that are odd lose a line."""
    target.width, target.height = (side & ~1 for side in size)
    if target.width < 2 or target.height < 2:
        raise MediaInvalid(f"pictures of {size[0]} x {size[1]}")
    if target.name == "libx265":
        target.codec_tag = "hvc1"  # Apple's players take no hev1.
    # Parameter sets before each keyframe: some players know only the first sample entry.
    target.flags &= ~int(av.codec.context.Flags.global_header)
    target.pix_fmt = "yuv420p"
    target.time_base = stream.time_base
    target.thread_count = 1
    target.sample_aspect_ratio = source.sample_aspect_ratio or Fraction(1)
    for name in ("color_primaries", "color_trc", "colorspace"):
        setattr(target, name, getattr(source, name))


@dataclass(slots=True)
class _Fifo:
    """Samples that are not encoded yet, shape ``(channels, n)``. ``at``: the number of the first on
    the recording's own count."""

    channels: int
    grid: int
    at: int = 0
    parts: list[npt.NDArray[np.float32]] = field(default_factory=list)
    length: int = 0

    def add(self, samples: npt.NDArray[np.float32]) -> None:
        self.parts.append(samples)
        self.length += samples.shape[1]

    def frames(self) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """Whole frames of the grid."""
        if self.length < self.grid:
            return
        joined = np.concatenate(self.parts, axis=1)
        whole = self.length - self.length % self.grid
        for first in range(0, whole, self.grid):
            yield self.at + first, np.ascontiguousarray(joined[:, first : first + self.grid])
        self.parts, self.length, self.at = [joined[:, whole:]], self.length - whole, self.at + whole


class _Sound:
    """Decodes, and encodes on the grid."""

    torn = 0

    def __init__(self, stream: Stream, muxer: Muxer, mapping: TickMapping, target: str) -> None:
        context: Any = stream.codec_context
        assert stream.time_base is not None
        self._mapping, self._context, self._time_base = mapping, context, stream.time_base
        self.what = f"{codec_name(stream)} -> {target}"
        self.undecoded = 0
        self._rate = min(_rates(target), key=lambda rate: abs(rate - context.sample_rate))
        layout = _LAYOUTS.get(context.layout.nb_channels, "stereo")
        if target == "mp3" and layout == "5.1":
            layout = "stereo"
        self._out: Any = muxer.container.add_stream(
            ENCODABLE[target], rate=self._rate, layout=layout
        )
        encoder: Any = self._out.codec_context
        channels = encoder.layout.nb_channels
        encoder.bit_rate = _BITS_PER_CHANNEL * channels
        encoder.time_base = Fraction(1, self._rate)
        encoder.format = _sample_format(encoder)
        encoder.open()
        self._packer = AudioResampler(encoder.format, encoder.layout, self._rate)
        # Opus gives its frames their size by their length.
        self._grid = encoder.frame_size or self._rate // 50
        self._form: tuple[str, str, int] | None = None
        self._resampler = self._new_resampler()
        self._fifo = _Fifo(channels, self._grid)
        self._frame_s = 0.0
        self._fed = self._foreign = 0
        self._next: int | None = None
        self._begin: int | None = None  # Number of the first sample that is wanted,
        self._end: int | None = None  # and of the first behind them.
        self._has_lead = self._has_trail = False
        self._packets: list[Packet[Any]] = []

    @property
    def undecoded_s(self) -> float:
        return self.undecoded * self._frame_s

    def take(self, packet: "Packet[Stream]", where: int) -> None:
        if packet.pts is None and packet.dts is None:
            return
        pts, _ = _times(packet, self._mapping)
        packet.pts = packet.dts = pts
        at = self._sample(pts)
        if where < 0:
            self._has_lead = True
        elif where == 0 and self._begin is None:
            self._begin = at
            self._forget_lead(at)
        elif where > 0 and self._end is None:
            self._end, self._has_trail = at, True
        try:
            frames = self._context.decode(packet)
        except av.error.FFmpegError:
            self.undecoded += where == 0
            return
        for frame in frames:
            self._frame_s = frame.samples / frame.sample_rate
            self._hear(frame)

    def _forget_lead(self, at: int) -> None:
        """What was before is no lead if it does not end where this begins."""
        near = _STEADY_S * self._rate + self._grid
        if self._next is not None and abs(at - self._next) > near:
            self._fifo = _Fifo(self._fifo.channels, self._grid)
            self._next, self._has_lead = None, False
            # One packet for each frame, behind one that primes the decoder.
            self._foreign = self._fed + 1
            self._resampler = self._new_resampler()

    def finish(self) -> "list[Packet[Any]]":
        if self._begin is None or self._next is None:
            return []
        for piece in self._resampler.resample(None):
            self._append(piece.to_ndarray().astype(np.float32))
        end = self._next if self._end is None else self._end
        self._append(np.zeros((self._fifo.channels, -self._fifo.length % self._grid), np.float32))
        self._encode()
        self._packets += self._out.codec_context.encode(None)
        first = self._begin - self._begin % self._grid
        if self._has_lead and first < self._begin:
            first += self._grid
        kept = []
        for packet in self._packets[self._foreign :]:
            if packet.pts is not None and first <= packet.pts < end:
                packet.stream, packet.dts = self._out, packet.pts
                kept.append(packet)
        return kept

    def _new_resampler(self) -> AudioResampler:
        """One for each form that the source takes on."""
        return AudioResampler("fltp", self._out.codec_context.layout.name, self._rate)

    def _sample(self, ticks: int) -> int:
        return round(ticks * self._time_base * self._rate)

    def _hear(self, frame: AudioFrame) -> None:
        at = self._sample(frame.pts) if frame.pts is not None else self._next
        frame.pts = None
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form != self._form:
            self._form, self._resampler = form, self._new_resampler()
        resampled = self._resampler.resample(frame)
        pieces = [piece.to_ndarray().astype(np.float32) for piece in resampled]
        if at is None or not pieces:
            return
        if self._next is None:
            self._next = self._fifo.at = at - at % self._grid
            self._append(np.zeros((self._fifo.channels, at % self._grid), np.float32))
        pause = at - self._next
        if pause > _MAX_SILENCE_S * self._rate:
            raise MediaInvalid("its sound pauses for too long")
        if pause > _STEADY_S * self._rate:
            self._append(np.zeros((self._fifo.channels, pause), np.float32))
        for samples in pieces:
            self._append(samples)
        self._encode()

    def _append(self, samples: npt.NDArray[np.float32]) -> None:
        self._fifo.add(samples)
        assert self._next is not None
        self._next += samples.shape[1]

    def _encode(self) -> None:
        for at, samples in self._fifo.frames():
            context = self._out.codec_context
            frame = AudioFrame.from_ndarray(samples, format="fltp", layout=context.layout.name)
            frame.sample_rate = self._rate
            (ready,) = self._packer.resample(frame)
            ready.pts, ready.time_base = at, Fraction(1, self._rate)
            self._fed += 1
            self._packets += context.encode(ready)


def _rates(codec: str) -> tuple[int, ...]:
    """Sampling rates that the codec takes."""
    if codec == "aac":
        return _AAC_RATES
    return (48_000,) if codec == "opus" else (48_000, 44_100, 32_000)


def _sample_format(context: Any) -> Any:
    """Of those that the encoder takes, the one that needs least conversion."""
    names = [form.name for form in context.codec.audio_formats or ()]
    best = next((name for name in ("fltp", "flt", "s16p", "s16") if name in names), "fltp")
    return av.AudioFormat(best)
