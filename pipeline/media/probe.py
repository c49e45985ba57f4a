"""What one segment holds, read by itself: its streams, when they begin and end, whether a keyframe
comes first.

For people only: what is recorded is decided elsewhere.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from av.packet import Packet
from av.stream import Stream

from pipeline.media.demux import choose_streams, codec_name
from pipeline.media.remux import Input
from pipeline.timebase import LEAD_S, TS_WRAP_S, Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamForm:
    """How a stream is encoded; what does not apply or is not told is 0 or empty."""

    kind: str
    codec: str
    profile: str
    width: int
    height: int
    sample_rate: int
    channels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSeen:
    """One stream in one segment.

    ``clock_s`` is what the source's clock shows with its first packet. ``begin_s`` and ``end_s``
    are on one unwrapped clock, in seconds since the anchor (``pipeline.timebase``); ``turn`` counts
    how often the clock has gone round at each of them.
    """

    form: StreamForm
    packets: int
    starts_with_key: bool
    clock_s: float
    begin_s: float
    end_s: float
    turn: tuple[int, int]

    @property
    def length_s(self) -> float:
        return self.end_s - self.begin_s

    @property
    def step_s(self) -> float:
        """From one packet to the next."""
        return self.length_s / self.packets


def probe(given: Input) -> tuple[StreamSeen, ...]:
    """The streams that would be kept, pictures first, those without timestamps left out.

    Raises ``MediaInvalid`` for what cannot be read alone.
    """
    with given.open() as source:
        kept = choose_streams(source, given.programs()).kept
        lanes = {stream.index: _Lane(stream, given.clock()) for stream in kept}
        for packet in given.packets(source, kept):
            lanes[packet.stream_index].take(packet)
        return tuple(lane.seen() for lane in lanes.values() if lane.stamps)


class _Lane:
    def __init__(self, stream: Stream, clock: Clock) -> None:
        self._form = _form(stream)
        self._clock = clock
        self._time_base = stream.time_base or Fraction(1, 90_000)
        self._map = clock.mapping(self._time_base)
        self._period = int(TS_WRAP_S / self._time_base) if clock.wraps else 0
        self._packets = 0
        self._is_key = False
        self._end = 0
        self.stamps: list[int] = []
        self._raw: list[int] = []

    def take(self, packet: "Packet[Stream]") -> None:
        if not self._packets:
            self._is_key = packet.is_keyframe
        self._packets += 1
        raw = packet.pts if packet.pts is not None else packet.dts
        if raw is None:
            return
        # FFmpeg unwraps by itself near the turn.
        self._raw.append(raw % self._period if self._period else raw)
        self.stamps.append(self._map(raw))
        self._end = max(self._end, self.stamps[-1] + (packet.duration or 0))

    def seen(self) -> StreamSeen:
        begin, last = min(self.stamps), max(self.stamps)
        if self._end <= last and self._packets > 1:
            self._end = last + (last - begin) // (self._packets - 1)
        return StreamSeen(
            form=self._form,
            packets=self._packets,
            starts_with_key=self._is_key,
            clock_s=float(self._raw[0] * self._time_base + self._clock.shift_s),
            begin_s=float(begin * self._time_base) - LEAD_S,
            end_s=float(self._end * self._time_base) - LEAD_S,
            turn=(self._turn(begin), self._turn(last)),
        )

    def _turn(self, stamp: int) -> int:
        if not self._period:
            return 0
        raw = self._raw[self.stamps.index(stamp)]
        moved = (stamp - raw) * self._time_base + self._clock.anchor_s - LEAD_S
        return round((moved - self._clock.shift_s) / TS_WRAP_S)


def _form(stream: Stream) -> StreamForm:
    context: Any = stream.codec_context
    is_video = stream.type == "video"
    return StreamForm(
        kind=stream.type,
        codec=codec_name(stream),
        profile=str(context.profile or ""),
        width=(context.width or 0) if is_video else 0,
        height=(context.height or 0) if is_video else 0,
        sample_rate=0 if is_video else context.sample_rate or 0,
        channels=0 if is_video else context.channels or 0,
    )
