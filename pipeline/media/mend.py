"""Timestamps that no muxer takes, mended: missing ones, steps back, clocks that start anew inside a
segment. Pictures and sounds stay as they are."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import av
from av.packet import Packet
from av.stream import Stream

from pipeline.errors import MediaInvalid
from pipeline.media.demux import choose_streams, open_media
from pipeline.media.muxing import Muxer
from pipeline.media.remux import (
    LONGEST_STEP_S,
    Input,
    Remuxed,
    copy_of,
    is_torn_adts,
    placed_packets,
    refuse_to_copy,
    to_mp4_form,
)
from pipeline.timebase import TickMapping

# A step back of less than this is a timestamp that is wrong, not a clock that was set.
_RESET_S = 0.5


def mend(given: Input) -> list[Remuxed]:
    """Copy all packets; one result per piece of uninterrupted clock. Raises ``MediaInvalid``."""
    with open_media(given.kind, given.pieces) as source:
        choice = choose_streams(source, given.programs())
        refuse_to_copy(choice.kept)
        clock, own = given.clock(), given.own_bytes
        lanes = {s.index: _Lane(s, clock.mapping(_time_base(s))) for s in choice.kept}
        for packet, position in placed_packets(source, choice.kept):
            if position in own:
                lanes[packet.stream_index].take(packet)
        resets = {lane.resets for lane in lanes.values() if lane.packets}
        if not resets:
            raise MediaInvalid("no packet in it")
        if len(resets) > 1:
            # Not all streams start anew: it is no clock that was set.
            for lane in lanes.values():
                lane.join()
        made = [
            _mux([(lane, lane.epoch(number)) for lane in lanes.values()])
            for number in range(max(lane.resets for lane in lanes.values()) + 1)
        ]
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


def _time_base(stream: Stream) -> Any:
    if stream.time_base is None:
        raise MediaInvalid(f"{stream.type} stream without a time base")
    return stream.time_base


@dataclass(slots=True)
class _Lane:
    """One stream's packets with times that grow. ``resets``: how often its clock starts anew."""

    stream: Stream
    mapping: TickMapping
    packets: "list[tuple[int, Packet[Any]]]" = field(default_factory=list)
    resets: int = 0
    torn: int = 0
    _last: int | None = None
    _step: int = 1

    def take(self, packet: "Packet[Stream]") -> None:
        if packet.is_corrupt and packet.pts is None and packet.dts is None:
            self.torn += 1
            return
        pts, dts = packet.pts, packet.dts
        expected = None if self._last is None else self._last + self._step
        dts = self.mapping(dts) if dts is not None else None
        pts = self.mapping(pts) if pts is not None else None
        if dts is None:
            dts = expected if expected is not None else pts
        if dts is None:
            self.torn += 1
            return
        packet.dts, packet.pts = dts, dts if pts is None else pts
        self._follow(packet)
        self.packets.append((self.resets, packet))

    def join(self) -> None:
        """All of it on one clock: where it starts anew it goes on instead."""
        self.resets = 0
        shift, last = 0, None
        for number, (_, packet) in enumerate(self.packets):
            dts, pts = packet.dts or 0, packet.pts or 0
            if last is not None and dts + shift <= last:
                shift = last + self._step - dts
            packet.dts, packet.pts = dts + shift, pts + shift
            last = dts + shift
            self.packets[number] = (0, packet)

    def epoch(self, number: int) -> "list[Packet[Any]]":
        return [packet for resets, packet in self.packets if resets == number]

    def _follow(self, packet: "Packet[Stream]") -> None:
        """Let decode times grow, and pictures be shown no sooner than they are decoded."""
        dts, pts = packet.dts or 0, packet.pts or 0
        unit = float(_time_base(self.stream))
        if self._last is not None and dts <= self._last:
            if (self._last - dts) * unit > _RESET_S:
                self.resets += 1
            else:
                dts = self._last + 1
        elif self._last is not None and (dts - self._last) * unit > LONGEST_STEP_S:
            self.resets += 1
        elif self._last is not None:
            self._step = dts - self._last
        self._last = dts
        packet.dts, packet.pts = dts, max(dts, pts)


def _mux(lanes: "Sequence[tuple[_Lane, list[Packet[Any]]]]") -> tuple[memoryview, int]:
    used = [(lane, packets) for lane, packets in lanes if packets]
    if not used:
        return memoryview(b""), 0
    muxer = Muxer([lane.stream.type for lane, _ in used])
    try:
        ready = [packet for lane, packets in used for packet in _formed(lane, packets, muxer)]
        ready.sort(key=lambda packet: (packet.dts or 0) * float(packet.time_base))
        for packet in ready:
            muxer.mux(packet)
        return muxer.close(), len(ready)
    finally:
        muxer.abandon()


def _formed(lane: _Lane, packets: "Sequence[Packet[Any]]", muxer: Muxer) -> "list[Packet[Any]]":
    out, to_mp4 = copy_of(lane.stream, muxer.container), to_mp4_form(lane.stream)
    formed = []
    for packet in packets:
        if to_mp4 is None:
            formed.append(packet)
            continue
        try:
            if is_torn_adts(packet):
                lane.torn += 1
                continue
            formed += to_mp4.filter(packet)
        except av.error.FFmpegError:
            lane.torn += 1
    for packet in formed:
        packet.stream = out
    return formed
