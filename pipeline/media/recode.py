"""Streams that cannot be copied are decoded and encoded anew, with the times that they have: H.264
and AAC, which everything plays.

One picture comes out for each that can be decoded. Sound lies on one grid of 1024 samples over the
whole recording: whoever encodes a chunk starts before it and stops behind it, and keeps the frames
that begin inside, so that nothing is heard at the joins.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from av.packet import Packet
from av.stream import Stream

from pipeline.errors import MediaInvalid
from pipeline.media.demux import ANYWHERE, ENCODABLE, choose_streams, times_of
from pipeline.media.gain import Gain
from pipeline.media.muxing import Muxer
from pipeline.media.recode_pictures import Pictures
from pipeline.media.recode_sound import Sound
from pipeline.media.remux import (
    Input,
    Remuxed,
    copy_of,
    is_adts,
    is_copied,
    is_torn_adts,
    placed_packets,
    to_mp4_form,
)
from pipeline.timebase import TS_WRAP_S, TickMapping

_SET_BACK_S = 0.5


def recode(given: Input, *, everything: bool = False, gain: Gain | None = None) -> Remuxed:
    """Copy what can be copied, encode the rest; ``everything``: encode all. ``gain``: of sound that
    is encoded.

    Raises ``MediaInvalid`` if nothing can be decoded.
    """
    with given.open(thorough=True) as source, ExitStack() as stack:
        choice = choose_streams(source, given.programs())
        muxer = Muxer([stream.type for stream in choice.kept])
        stack.callback(muxer.abandon)
        clock, own = given.clock(), given.own_bytes
        lanes: dict[int, _Copied | Pictures | Sound] = {}
        for stream in choice.kept:
            assert stream.time_base is not None
            mapping = clock.mapping(stream.time_base)
            if is_copied(stream, given.form) and not everything:
                lanes[stream.index] = _Copied(stream, muxer, mapping, given)
            elif stream.type == "video":
                target = _target(given.form.video, "video")
                lanes[stream.index] = Pictures(stream, muxer, mapping, target)
            else:
                target = _target(given.form.audio, "audio")
                lanes[stream.index] = Sound(stream, muxer, mapping, target, given.form, gain)
        steps = _Steps(choice.kept)
        for packet, position in placed_packets(source, choice.kept, given):
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


def _write(muxer: Muxer, lanes: "Sequence[_Copied | Pictures | Sound]") -> int:
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

    def __init__(self, stream: Stream, muxer: Muxer, mapping: TickMapping, given: Input) -> None:
        self.torn = 0
        self._mapping, self._packets = mapping, []  # type: tuple[TickMapping, list[Packet[Any]]]
        self._out, self._is_adts = copy_of(stream, muxer.container), is_adts(stream)
        self._filter = to_mp4_form(stream, self._out, given)

    def take(self, packet: "Packet[Stream]", where: int) -> None:
        if where or (packet.pts is None and packet.dts is None):
            return
        if self._is_adts and is_torn_adts(packet):
            self.torn += 1
            return
        packet.pts, packet.dts = times_of(packet, self._mapping)
        for ready in [packet] if self._filter is None else self._filter.filter(packet):
            ready.stream = self._out
            self._packets.append(ready)

    def finish(self) -> "list[Packet[Any]]":
        return self._packets
