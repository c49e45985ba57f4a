"""Sound decoded and encoded anew, on one grid of frames over the whole recording."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.packet import Packet
from av.stream import Stream

from pipeline.media.demux import ENCODABLE, codec_name, times_of
from pipeline.media.gain import Gain
from pipeline.media.hear import STEADY_S, Hearing, Samples
from pipeline.media.muxing import Muxer
from pipeline.model import Form
from pipeline.timebase import TickMapping

_AAC_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 8_000)
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}
_BITS_PER_CHANNEL = 80_000
# Frames beside what is wanted that are encoded with it. FFmpeg's AAC encoder needs 40 of them until
# it quantizes a pure tone as if it had not just begun; what it writes depends on two that follow.
_LEAD_FRAMES, _TRAIL_FRAMES = 64, 8


@dataclass(slots=True)
class _Fifo:
    """Samples that are not encoded yet, shape ``(channels, n)``. ``at``: the number of the first on
    the recording's own count."""

    grid: int
    at: int
    parts: list[Samples] = field(default_factory=list)
    length: int = 0

    def add(self, samples: Samples) -> None:
        self.parts.append(samples)
        self.length += samples.shape[1]

    def frames(self) -> Iterator[tuple[int, Samples]]:
        """Whole frames of the grid."""
        if self.length < self.grid:
            return
        joined = np.concatenate(self.parts, axis=1)
        whole = self.length - self.length % self.grid
        for first in range(0, whole, self.grid):
            yield self.at + first, np.ascontiguousarray(joined[:, first : first + self.grid])
        self._keep(joined, whole)

    def drop(self, before: int) -> None:
        """Forget the frames that end at this sample at the latest."""
        if (dropped := min(before - self.at, self.length)) >= self.grid:
            self._keep(np.concatenate(self.parts, axis=1), dropped - dropped % self.grid)

    def _keep(self, joined: Samples, first: int) -> None:
        self.parts, self.length, self.at = [joined[:, first:]], self.length - first, self.at + first


class Sound:
    """Decodes, and encodes on the grid. ``gain``: None leaves sound as loud as it is."""

    torn = 0

    def __init__(
        self,
        stream: Stream,
        muxer: Muxer,
        mapping: TickMapping,
        target: str,
        form: Form,
        gain: Gain | None = None,
    ) -> None:
        context: Any = stream.codec_context
        self._mapping, self._gain = mapping, gain
        self.what = f"{codec_name(stream)} -> {target}"
        self.undecoded = 0
        # As the recording's own sound: players do not take another rate on the way.
        self._out, self._packer = open_sound(
            muxer,
            target,
            form.audio_rate or context.sample_rate,
            form.audio_channels or context.layout.nb_channels,
            form.audio_bit_rate,
        )
        encoder: Any = self._out.codec_context
        channels = encoder.layout.nb_channels
        self._rate: int = encoder.sample_rate
        # Opus gives its frames their size by their length.
        self._grid = encoder.frame_size or self._rate // 50
        self._hearing = Hearing(stream, self._rate, encoder.layout.name, channels)
        self._fifo: _Fifo | None = None
        self._channels = channels
        self._begin: int | None = None  # Number of the first sample that is wanted,
        self._end: int | None = None  # and of the first behind them.
        self._has_lead = False
        self._packets: list[Packet[Any]] = []

    @property
    def undecoded_s(self) -> float:
        return self.undecoded * self._hearing.frame_s

    def take(self, packet: "Packet[Stream]", where: int) -> None:
        if packet.pts is None and packet.dts is None:
            return
        pts, _ = times_of(packet, self._mapping)
        packet.pts = packet.dts = pts
        at = self._hearing.sample(pts)
        if where < 0:
            self._has_lead = True
        elif where == 0 and self._begin is None:
            self._begin = at
            self._trim_lead(at)
        elif where > 0:
            if self._end is None:
                self._end = at
            if at >= self._end + _TRAIL_FRAMES * self._grid:
                return
        try:
            frames = self._hearing.decode(packet)
        except av.error.FFmpegError:
            self.undecoded += where == 0
            return
        for number, samples in self._hearing.hear(frames):
            self._append(number, samples)

    def _trim_lead(self, at: int) -> None:
        """What was before is no lead if it does not end where this begins, and most of it is not
        needed."""
        near = STEADY_S * self._rate + self._grid
        known = self._hearing.next
        if known is not None and abs(at - known) > near:
            self._fifo = None
            self._hearing.forget()
            self._has_lead = False
        elif self._fifo is not None:
            self._fifo.drop(at - _LEAD_FRAMES * self._grid)

    def finish(self) -> "list[Packet[Any]]":
        if self._begin is None or self._fifo is None:
            return []
        for number, samples in self._hearing.finish():
            self._append(number, samples)
        behind = self._fifo.at + self._fifo.length
        end = behind if self._end is None else self._end
        self._fifo.add(np.zeros((self._channels, -self._fifo.length % self._grid), np.float32))
        self._encode(self._fifo)
        self._packets += self._out.codec_context.encode(None)
        first = self._begin - self._begin % self._grid
        if self._has_lead and first < self._begin:
            first += self._grid
        kept = []
        for packet in self._packets:
            if packet.pts is not None and first <= packet.pts < end:
                packet.stream, packet.dts = self._out, packet.pts
                kept.append(packet)
        return kept

    def _append(self, at: int, samples: Samples) -> None:
        if self._fifo is None:
            self._fifo = _Fifo(self._grid, at - at % self._grid)
            self._fifo.add(np.zeros((self._channels, at % self._grid), np.float32))
        self._fifo.add(samples)
        # How much of the lead is needed shows where it ends.
        if self._begin is not None:
            self._encode(self._fifo)

    def _encode(self, fifo: _Fifo) -> None:
        context = self._out.codec_context
        for at, samples in fifo.frames():
            if self._gain is not None:
                samples *= self._gain.factors(at, samples.shape[1])
            frame = AudioFrame.from_ndarray(samples, format="fltp", layout=context.layout.name)
            frame.sample_rate = self._rate
            (ready,) = self._packer.resample(frame)
            ready.pts, ready.time_base = at, Fraction(1, self._rate)
            self._packets += context.encode(ready)


def open_sound(
    muxer: Muxer, codec: str, rate_hz: int, channels: int, bit_rate: int = 0
) -> tuple[Any, AudioResampler]:
    """A stream of the muxer whose encoder is open, with the rate and the channels next to those
    given; and what brings planar floats into its format. ``bit_rate`` 0: by the channels."""
    rate, layout = taken_form(codec, rate_hz, channels)
    out: Any = muxer.container.add_stream(ENCODABLE[codec], rate=rate, layout=layout)
    encoder: Any = out.codec_context
    encoder.bit_rate = bit_rate or _BITS_PER_CHANNEL * encoder.layout.nb_channels
    encoder.time_base = Fraction(1, rate)
    encoder.format = _sample_format(encoder)
    encoder.open()
    return out, AudioResampler(encoder.format, encoder.layout, rate)


def taken_form(codec: str, rate_hz: int, channels: int) -> tuple[int, str]:
    """The rate in Hz and the layout, by FFmpeg's name, that sound of this form is encoded in."""
    rate = min(_rates(codec), key=lambda taken: abs(taken - rate_hz))
    layout = _LAYOUTS.get(channels, "stereo")
    return rate, "stereo" if codec == "mp3" and layout == "5.1" else layout


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
