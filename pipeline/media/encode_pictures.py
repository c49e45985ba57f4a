"""One output's pictures: encoded as its profile says, and written as fragments."""

from collections.abc import Iterable
from fractions import Fraction
from math import lcm
from typing import Any

from av.video.frame import PictureType, VideoFrame

from pipeline.errors import MediaInvalid
from pipeline.media.decode_pictures import Pictures
from pipeline.media.encoders import Encoding
from pipeline.media.muxing import Muxer
from pipeline.media.pacing import Grid, OwnTimes, Shown
from pipeline.media.remux import Remuxed, longest_step
from pipeline.media.scale import Colours, Scaled
from pipeline.model import EncodedPictures
from pipeline.stages import stage

# Encoders tell decode times that are several pictures behind: over a longer pause too far behind.
_LONGEST_PAUSE_S = 5
_FINEST = 10_000_000
# Of keyframes that are where the source has them.
_SHORTEST_GOP_S = Fraction(9, 10)


class Lane:
    """``number``: which of the ladder's outputs it is."""

    def __init__(self, spec: EncodedPictures, number: int, given: Pictures) -> None:
        self._spec, self._number = spec, number
        rate = spec.frame_rate
        self._pace = Grid(given, rate, spec.phase_s) if rate else OwnTimes(given)
        self._tick_s = self._pace.tick_s
        # What is written counts in units that hold the phase as well.
        self._unit_s = _common_unit(self._tick_s, self._pace.phase_s)
        self._muxer = Muxer(["video"])
        self._encoding: Encoding | None = None
        self._stream: Any = None
        self._encoder: Any = None
        # Of pictures that are inside the encoder, by their time.
        self._durations: dict[int, int] = {}
        self._written, self._last_dts = 0, -1
        self._last = self._last_key = self._since_key = 0

    def take(self, scaled: Scaled) -> None:
        """Raises ``EncoderMissing``, and ``MediaInvalid`` for times that cannot be written."""
        self._encode(self._pace.take(scaled))

    def finish(self) -> Remuxed | None:
        """None if nothing came."""
        self._encode(self._pace.finish())
        if self._encoder is None:
            return None
        self._write(None)
        return Remuxed(data=self._muxer.close(), packets=self._written)

    def abandon(self) -> None:
        """Let go of it whatever state it is in."""
        self._muxer.abandon()

    def _encode(self, pictures: Iterable[Shown]) -> None:
        for shown in pictures:
            begins = self._encoder is None or self._pauses(shown.time - self._last)
            if begins:
                self._begin(shown.scaled.colours(self._number))
            is_key = begins or self._is_key(shown)
            if is_key:
                self._last_key, self._since_key = shown.time, 0
            self._since_key += 1
            self._last = shown.time
            self._durations[shown.time] = shown.duration
            frame = shown.scaled.frame(self._number)
            frame.pts, frame.time_base = shown.time, self._tick_s
            frame.pict_type = PictureType.I if is_key else PictureType.NONE
            self._write(frame)

    def _is_key(self, shown: Shown) -> bool:
        if self._since_key >= self._spec.gop:
            return True
        is_own = self._spec.frame_rate is None and shown.scaled.picture.is_key
        return is_own and (shown.time - self._last_key) * self._tick_s >= _SHORTEST_GOP_S

    def _pauses(self, step: int) -> bool:
        if step > longest_step(self._tick_s):
            raise MediaInvalid("the times of its pictures are too far apart")
        return step * self._tick_s > _LONGEST_PAUSE_S

    def _begin(self, colours: Colours) -> None:
        """An encoder; one that there was ends with what it has."""
        if self._encoding is None:
            self._encoding = Encoding(self._spec, self._tick_s, self._pace.rate, colours)
            self._stream = self._encoding.add_stream(self._muxer.container)
            self._stream.time_base = self._unit_s
            self._encoder = self._stream.codec_context
        else:
            self._write(None)
            self._encoder = self._encoding.another()

    def _write(self, frame: VideoFrame | None) -> None:
        """None: all that the encoder still has."""
        assert self._encoding is not None
        with stage("encode"), self._encoding.working():
            packets = self._encoder.encode(frame)
        for packet in packets:
            packet.stream = self._stream
            packet.duration = self._durations.pop(packet.pts)
            # At the begin an encoder tells decode times as if there had been pictures before.
            packet.dts = self._last_dts = max(packet.dts, self._last_dts + 1)
            packet.pts, packet.dts = self._units(packet.pts), self._units(packet.dts)
            packet.duration = round(packet.duration * self._tick_s / self._unit_s)
            packet.time_base = self._unit_s
            self._muxer.mux(packet)
            self._written += 1

    def _units(self, ticks: int) -> int:
        return round((ticks * self._tick_s + self._pace.phase_s) / self._unit_s)


def _common_unit(tick_s: Fraction, phase_s: Fraction) -> Fraction:
    """The largest that holds both exactly, as far as a time scale can."""
    if not phase_s:
        return tick_s
    scale = lcm(tick_s.denominator, phase_s.denominator)
    return Fraction(1, scale if scale <= _FINEST else tick_s.denominator * 100)
