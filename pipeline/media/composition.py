"""When pictures are shown whose composition offsets are negative (ISO/IEC 14496-12 8.8.8, version 1
of ``trun``; usual in CMAF, ISO/IEC 23000-19 7.5.20).

FFmpeg's demuxer keeps decode times and shows all pictures of such a track later, by the largest of
the offsets that it has read so far; the sound stays where it is. Here pictures are shown when the
fragments say, and decoded earlier instead.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from av.packet import Packet
from av.stream import Stream

from pipeline.errors import MediaInvalid
from pipeline.media import boxes
from pipeline.media.fragments import read_runs

# So much before it is shown a picture is decoded, or twice, four times ... as much if need be: the
# same in all chunks, though not all reorder as far.
_LEAST_AHEAD_S = 0.25


def as_written(
    packets: "Iterable[Packet[Stream]]", kept: Sequence[Stream], pieces: Sequence[bytes]
) -> "Iterator[Packet[Stream]]":
    """The packets of the fragmented MP4 ``pieces`` with the times that are written in them."""
    offsets = _read_offsets(pieces, {s.id for s in kept if s.type == "video"})
    tracks = {s.index: _Track(offsets[s.id], s) for s in kept if s.id in offsets}
    moved = {index: track for index, track in tracks.items() if track.ahead}
    if not moved:
        yield from packets
        return
    for packet in packets:
        if track := moved.get(packet.stream_index):
            track.take(packet)
        yield packet


class _Track:
    """``ahead``: how many ticks earlier its pictures are decoded; 0: its offsets are not negative.
    ``offsets``: of its samples in order, in ticks."""

    def __init__(self, offsets: Sequence[int], stream: Stream) -> None:
        self._offsets, self._number, self._late = offsets, 0, 0
        self._latest = max(0, -min(offsets, default=0))
        context: Any = stream.codec_context
        # Nothing is reordered here, but elsewhere: with other offsets its first one would be late.
        may_be = bool(offsets) and offsets[0] == 0 and bool(context.has_b_frames)
        self.ahead = 0
        if (self._latest or may_be) and stream.time_base:
            ahead_s = _LEAST_AHEAD_S
            while ahead_s < self._latest * stream.time_base:
                ahead_s *= 2
            self.ahead = int(ahead_s / stream.time_base)

    def take(self, packet: "Packet[Stream]") -> None:
        pts, dts = packet.pts, packet.dts
        if pts is None or dts is None:
            return
        if self._number < len(self._offsets):
            late = pts - dts - self._offsets[self._number]
            # What is not in step with the fragments is as late as what was before it.
            self._late = late if 0 <= late <= self._latest else self._late
        self._number += 1
        packet.pts, packet.dts = pts - self._late, dts - self.ahead


def _read_offsets(pieces: Sequence[bytes], wanted: set[int]) -> dict[int, list[int]]:
    """Composition offsets by track; nothing where boxes are not as they should be."""
    found: dict[int, list[int]] = {}
    if not wanted:
        return found
    try:
        for moof in _moofs(pieces):
            for run in read_runs(moof):
                if run.track_id in wanted:
                    found.setdefault(run.track_id, []).extend(run.cts.tolist())
    except MediaInvalid:
        return {}
    return found


def _moofs(pieces: Sequence[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        yield from (piece[box.start : box.end] for box in boxes.walk(piece) if box.kind == b"moof")
