"""Takes pictures and sounds apart that share fragments: each gets fragments of its own, so that
players can choose among them."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.errors import MediaInvalid
from pipeline.media import boxes
from pipeline.media.fragments import track_heads
from pipeline.media.interleave import Body
from pipeline.media.samples import TrackSamples

_BASE_DATA_OFFSET = 0x1
_DEFAULT_BASE_IS_MOOF = 0x2_0000
_HAS_DATA_OFFSET = 0x1
_TRACK_ENABLED = 0x1


def split(body: Body) -> list[Body]:
    """One body per track that has samples, pictures first, the others by ``Span.sound``.

    Sounds are numbered as the init has them, those without samples included. Media is copied once,
    a body of one track not at all. Raises ``MediaInvalid`` for fragments that FFmpeg's muxer does
    not write.
    """
    heads = track_heads(body.span.init)
    sounds = [track_id for track_id, (_, kind) in heads.items() if kind != "video"]
    number_of = {track_id: number for number, track_id in enumerate(sounds, 1)}
    if len(heads) == 1:
        return [Body(replace(body.span, sound=1), body.data)] if sounds else [body]
    moofs = _read_moofs(body)
    return [
        _take_out(body, moofs, track, number_of.get(track.track_id, 0))
        for track in sorted(body.span.tracks, key=lambda t: number_of.get(t.track_id, 0))
    ]


@dataclass(frozen=True, slots=True)
class _Moof:
    """``other``: what it holds besides ``traf`` boxes (``mfhd``), ``trafs``: these by ``track_ID``.
    ``behind``: where its ``mdat`` ends."""

    box: boxes.Box
    behind: int
    other: bytes
    trafs: dict[int, list[boxes.Box]]


@boxes.reading("a fragment")
def _read_moofs(body: Body) -> list[_Moof]:
    found = []
    for start, behind in zip(
        body.span.fragment_offset.tolist(), body.span.fragment_end.tolist(), strict=True
    ):
        moof = boxes.read_header(body.data, start, behind)
        if moof.kind != b"moof":
            raise MediaInvalid(f"box {moof.kind!r} where a fragment should begin")
        other, trafs = b"", dict[int, list[boxes.Box]]()
        for box in boxes.walk(body.data, moof.body, moof.end):
            if box.kind == b"traf":
                trafs.setdefault(_owner(body.data, box), []).append(box)
            else:
                other += body.data[box.start : box.end]
        found.append(_Moof(moof, behind, other, trafs))
    return found


def _owner(data: memoryview, traf: boxes.Box) -> int:
    """``track_ID`` of a fragment whose data offsets count from its ``moof`` (ISO/IEC 14496-12
    8.8.7)."""
    tfhd = boxes.need(data, "tfhd", traf.body, traf.end)
    flags, track_id = struct.unpack_from(">II", data, tfhd.body)
    if flags & _BASE_DATA_OFFSET or not flags & _DEFAULT_BASE_IS_MOOF:
        raise MediaInvalid("the offsets of a fragment do not count from its moof")
    return int(track_id)


@boxes.reading("a fragment")
def _take_out(body: Body, moofs: Sequence[_Moof], track: TrackSamples, sound: int) -> Body:
    runs = _Runs(body.data, track)
    pieces: list[bytes | memoryview] = []
    starts, sizes, at = [], [], 0
    for moof in moofs:
        own = moof.trafs.get(track.track_id)
        if own is not None:
            fragment = runs.fragment(moof, own, at)
            pieces += fragment
            starts.append(at)
            sizes.append(sum(map(len, fragment)))
            at += sizes[-1]
    span = replace(
        body.span,
        init=_init_of(body.span.init, track.track_id),
        tracks=(replace(track, run_offset=runs.offsets()),),
        fragment_offset=np.array(starts, np.int64),
        fragment_size=np.array(sizes, np.int64),
        sound=sound,
    )
    return Body(span, memoryview(b"".join(pieces)))


class _Runs:
    """Of one track, one after the other: where they are, and where they go."""

    def __init__(self, data: memoryview, track: TrackSamples) -> None:
        self._data = data
        before = np.concatenate(([0], np.cumsum(track.size)))
        behind = np.cumsum(track.run_count)
        self._from = track.run_offset.tolist()
        self._bytes = (before[behind] - before[behind - track.run_count]).tolist()
        self._to: list[int] = []

    def fragment(
        self, moof: _Moof, trafs: Sequence[boxes.Box], at: int
    ) -> list[bytes | memoryview]:
        """``moof`` and ``mdat`` with the next runs only, to be put at byte ``at``."""
        content = bytearray(boxes.make(b"moof", moof.other))
        patches: list[int] = []
        for traf in trafs:
            moved = len(content) - traf.start
            content += self._data[traf.start : traf.end]
            for trun in boxes.walk(self._data, traf.body, traf.end):
                if trun.kind == b"trun":
                    self._check(moof, trun, len(self._to) + len(patches))
                    patches.append(trun.body + 8 + moved)
        struct.pack_into(">I", content, 0, len(content))
        media: list[bytes | memoryview] = []
        offset = len(content) + 8
        for patch in patches:
            struct.pack_into(">i", content, patch, offset)
            run = len(self._to)
            self._to.append(at + offset)
            media.append(self._data[self._from[run] : self._from[run] + self._bytes[run]])
            offset += self._bytes[run]
        header = struct.pack(">I4s", offset - len(content), b"mdat")
        return [bytes(content), header, *media]

    def _check(self, moof: _Moof, trun: boxes.Box, run: int) -> None:
        """Whether it is the run that the span says."""
        flags, _, offset = struct.unpack_from(">IIi", self._data, trun.body)
        begin, end = self._from[run], self._from[run] + self._bytes[run]
        is_same = flags & _HAS_DATA_OFFSET and moof.box.start + offset == begin
        if not is_same or begin < moof.box.end or end > moof.behind:
            raise MediaInvalid(f"the run at byte {trun.start} is not where its samples are")

    def offsets(self) -> np.ndarray:
        """Where all of them went."""
        if len(self._to) != len(self._from):
            raise MediaInvalid(f"{len(self._to)} of {len(self._from)} runs are in the fragments")
        return np.array(self._to, np.int64)


@boxes.reading("an init segment")
def _init_of(init: bytes, track_id: int) -> bytes:
    """The init with one track only."""
    return b"".join(
        boxes.make(b"moov", *_moov_of(init, box, track_id))
        if box.kind == b"moov"
        else init[box.start : box.end]
        for box in boxes.walk(init)
    )


def _moov_of(init: bytes, moov: boxes.Box, track_id: int) -> list[bytes]:
    kept = []
    for box in boxes.walk(init, moov.body, moov.end):
        whole = init[box.start : box.end]
        if box.kind == b"mvex":
            kept.append(boxes.make(b"mvex", *_mvex_of(init, box, track_id)))
        elif box.kind != b"trak":
            kept.append(whole)
        elif _id_of(init, box) == track_id:
            kept.append(_enabled(whole))
    return kept


def _mvex_of(init: bytes, mvex: boxes.Box, track_id: int) -> list[bytes]:
    """8.8.1: ``trex`` of the track, and what is there besides."""
    return [
        init[box.start : box.end]
        for box in boxes.walk(init, mvex.body, mvex.end)
        if box.kind != b"trex" or struct.unpack_from(">I", init, box.body + 4)[0] == track_id
    ]


def _id_of(init: bytes, trak: boxes.Box) -> int:
    tkhd = boxes.need(init, "tkhd", trak.body, trak.end)
    at = tkhd.body + (20 if init[tkhd.body] else 12)
    return int(struct.unpack_from(">I", init, at)[0])


def _enabled(trak: bytes) -> bytes:
    """A disabled track is as if it were not there (8.3.2), and nothing stands for it here."""
    tkhd = boxes.need(trak, "trak/tkhd")
    patched = bytearray(trak)
    patched[tkhd.body + 3] |= _TRACK_ENABLED
    return bytes(patched)
