"""Damaged segments, mended: timestamps that no muxer takes (missing ones, steps back, clocks that
start anew on the way), streams that are encoded otherwise on the way, sound that cannot be decoded.

What is kept stays as it is.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import av
import av.logging
from av.packet import Packet
from av.stream import Stream

from pipeline.errors import MediaInvalid
from pipeline.media.demux import choose_streams, codec_name
from pipeline.media.muxing import Muxer
from pipeline.media.parameters import parameter_sets
from pipeline.media.remux import (
    LONGEST_AHEAD_S,
    Input,
    Remuxed,
    adts_form,
    copy_of,
    is_adts,
    is_torn_adts,
    longest_piece,
    longest_step,
    placed_packets,
    refuse_to_copy,
    to_mp4_form,
)
from pipeline.media.sniff import Kind
from pipeline.timebase import TickMapping

# A step back of less than this is a timestamp that is wrong, not a clock that was set.
_RESET_S = 0.5
# What is missing a time is not shown for longer than this.
_LONGEST_PICTURE_S = 10.0
_ADTS_BYTES = 7


def mend(given: Input) -> list[Remuxed]:
    """Copy all packets; one result per piece of uninterrupted clock. Raises ``MediaInvalid``."""
    with given.open(thorough=True) as source:
        choice = choose_streams(source, given.programs())
        refuse_to_copy(choice.kept, given.form)
        clock, own = given.clock(), given.own_bytes
        untimed = 0 if given.kind.is_packed else None
        lanes = {
            s.index: _Lane(s, clock.mapping(_time_base(s)), untimed=untimed) for s in choice.kept
        }
        with _errors_are_heard():
            for packet, position in placed_packets(source, choice.kept, given):
                if position in own:
                    lanes[packet.stream_index].take(packet, given.kind is Kind.MP4)
        resets = {lane.resets for lane in lanes.values() if lane.packets}
        if not resets:
            raise MediaInvalid("no packet in it")
        if len(resets) > 1:
            # Not all streams start anew: it is no clock that was set.
            for lane in lanes.values():
                lane.join()
        if resets == {0}:
            changes_s = sorted(at for lane in lanes.values() for at in lane.changes_s)
            for lane in lanes.values():
                lane.part(changes_s)
        made = [
            _mux([(lane, lane.epoch(number)) for lane in lanes.values()], given)
            for number in range(max(lane.resets for lane in lanes.values()) + 1)
        ]
        if not any(count for _, count in made):
            raise MediaInvalid("no packet of it can be kept")
        torn = sum(lane.torn for lane in lanes.values())
        return [
            Remuxed(
                data=data,
                packets=count,
                torn=torn if number == 0 else 0,
                dropped=choice.dropped,
                lost=choice.lost,
            )
            for number, (data, count) in enumerate(made)
            if count
        ]


@contextmanager
def _errors_are_heard() -> Iterator[None]:
    """FFmpeg's errors can be captured; without that it says nothing at all."""
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture():
            yield
    finally:
        av.logging.set_level(None)


def _time_base(stream: Stream) -> Any:
    if stream.time_base is None:
        raise MediaInvalid(f"{stream.type} stream without a time base")
    return stream.time_base


@dataclass(slots=True)
class _Lane:
    """One stream's packets with times that grow. ``resets``: how often its clock starts anew;
    ``changes_s``: when it is encoded otherwise from."""

    stream: Stream
    mapping: TickMapping
    packets: "list[tuple[int, Packet[Any]]]" = field(default_factory=list)
    resets: int = 0
    torn: int = 0
    changes_s: list[float] = field(default_factory=list)
    untimed: int | None = None
    _last: int | None = None
    _step: int = 1
    _end: int = 0
    _form: bytes = b""

    def take(self, packet: "Packet[Stream]", is_mp4: bool) -> None:
        if (packet.is_corrupt and is_mp4) or not self._is_heard(packet):
            self.torn += 1
            return
        pts, dts = packet.pts, packet.dts
        expected = None if self._last is None else self._last + self._step
        dts = self.mapping(dts) if dts is not None else None
        pts = self.mapping(pts) if pts is not None else None
        if dts is None:
            dts = expected if expected is not None else pts
        if dts is None:
            dts = self.mapping(0) if self.untimed is not None else None
        if dts is None:
            self.torn += 1
            return
        packet.dts, packet.pts = dts, dts if pts is None else pts
        self._follow(packet)
        self._watch_form(packet)
        self.packets.append((self.resets, packet))

    def join(self) -> None:
        """All of it on one clock: where it starts anew it goes on instead."""
        self.resets = 0
        shift, last = 0, None
        longest = longest_step(_time_base(self.stream))
        end = (self.packets[0][1].dts or 0 if self.packets else 0) + longest_piece(
            _time_base(self.stream)
        )
        for number, (_, packet) in enumerate(self.packets):
            dts, pts = packet.dts or 0, packet.pts or 0
            is_far = last is not None and dts + shift > end
            if last is not None and (is_far or not 0 < dts + shift - last <= longest):
                shift = last + self._step - dts
            packet.dts, packet.pts = dts + shift, pts + shift
            last = dts + shift
            self.packets[number] = (0, packet)

    def part(self, changes_s: Sequence[float]) -> None:
        """One piece up to each change, of whichever stream."""
        unit = float(_time_base(self.stream))
        self.resets = len(changes_s)
        self.packets = [
            (bisect_right(changes_s, (packet.dts or 0) * unit), packet)
            for _, packet in self.packets
        ]

    def _is_heard(self, packet: "Packet[Stream]") -> bool:
        """Whether sound can be decoded: players stop at what cannot. Pictures are concealed."""
        if self.stream.type != "audio":
            return True
        context: Any = self.stream.codec_context
        try:
            # What a decoder conceals, another may stop at: both say so.
            with av.logging.Capture() as complaints:
                context.decode(packet)
        except av.error.FFmpegError:
            return False
        return not complaints

    def _watch_form(self, packet: "Packet[Stream]") -> None:
        name = codec_name(self.stream)
        form = b""
        if is_adts(self.stream) and packet.size >= _ADTS_BYTES:
            form = adts_form(packet)
        elif name in ("h264", "hevc") and packet.is_keyframe:
            form = parameter_sets(name, packet)
        if form and self._form and form != self._form:
            self.changes_s.append((packet.dts or 0) * float(_time_base(self.stream)))
        self._form = form or self._form

    def epoch(self, number: int) -> "list[Packet[Any]]":
        return [packet for resets, packet in self.packets if resets == number]

    def _follow(self, packet: "Packet[Stream]") -> None:
        """Let decode times grow, and pictures be shown no sooner than they are decoded."""
        dts, pts, resets = packet.dts or 0, packet.pts or 0, self.resets
        unit, longest = float(_time_base(self.stream)), longest_step(_time_base(self.stream))
        if self._last is not None and dts <= self._last:
            if (self._last - dts) * unit > _RESET_S:
                self.resets += 1
            else:
                dts = self._last + 1
        elif self._last is not None and (dts - self._last > longest or dts > self._end):
            self.resets += 1
        elif self._last is not None and (dts - self._last) * unit <= _LONGEST_PICTURE_S:
            self._step = dts - self._last
        if self._last is None or self.resets > resets:
            self._end = dts + longest_piece(_time_base(self.stream))
        self._last = dts
        is_shown_late = (pts - dts) * unit > LONGEST_AHEAD_S
        packet.dts, packet.pts = dts, dts if is_shown_late else max(dts, pts)
        if (packet.duration or 0) > longest:
            packet.duration = 0


def _mux(
    lanes: "Sequence[tuple[_Lane, list[Packet[Any]]]]", given: Input
) -> tuple[memoryview, int]:
    used = [(lane, packets) for lane, packets in lanes if packets]
    if not used:
        return memoryview(b""), 0
    muxer = Muxer([lane.stream.type for lane, _ in used])
    try:
        ready = [
            packet for lane, packets in used for packet in _formed(lane, packets, muxer, given)
        ]
        ready.sort(key=lambda packet: (packet.dts or 0) * float(packet.time_base))
        for packet in ready:
            muxer.mux(packet)
        return muxer.close(), len(ready)
    finally:
        muxer.abandon()


def _formed(
    lane: _Lane, packets: "Sequence[Packet[Any]]", muxer: Muxer, given: Input
) -> "list[Packet[Any]]":
    out, with_headers = copy_of(lane.stream, muxer.container), is_adts(lane.stream)
    to_mp4 = to_mp4_form(lane.stream, out, given)
    formed = []
    for packet in packets:
        if to_mp4 is None:
            formed.append(packet)
            continue
        try:
            if with_headers and is_torn_adts(packet):
                lane.torn += 1
                continue
            formed += to_mp4.filter(packet)
        except av.error.FFmpegError:
            lane.torn += 1
    for packet in formed:
        packet.stream = out
    return formed
