"""The one ``moov`` over all chunks, and the judge of it: what it accepts and what it finds."""

import struct
import tracemalloc
from contextlib import suppress
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import MediaInvalid, VerificationFailed
from pipeline.media import boxes, stitch, verify
from pipeline.media.tables import read_tables
from pipeline.media.timeline import PlacedSpan, lanes, place
from tests.indexes import AUDIO_SCALE, audio, span, video

GIB = 2**30


def two_chunks() -> list[PlacedSpan]:
    return place(
        [
            (0, span([video(10.0, 25), audio(10.0, 47, at=10_000)])),
            (1, span([video(11.0, 30), audio(11.0, 50, at=10_000)])),
        ]
    )


def truth(placed: list[PlacedSpan], offset: dict[int, int]) -> list[verify.Truth]:
    keys = sorted({key for p in placed for key in lanes(p.span)})
    return [
        verify.Truth(
            "audio" if key.is_sound else "video",
            [
                verify.Piece(number, offset[p.chunk], lanes(p.span)[key])
                for number, p in enumerate(placed)
                if key in lanes(p.span)
            ],
        )
        for key in keys
    ]


def stitched(
    placed: list[PlacedSpan], offset: dict[int, int], body: int
) -> tuple[bytes, dict[int, int]]:
    """The head, and where each chunk is in the object."""
    tracks = stitch.merge(placed)
    head = stitch.build_head(tracks, offset, body)
    assert len(head) == stitch.head_bytes(tracks)
    return head, {chunk: len(head) + at for chunk, at in offset.items()}


def check(head: bytes, wanted: list[verify.Truth]) -> None:
    tables, body, size = read_tables(head)
    verify.check_tables(tables, wanted, body, size)


def judge(head: bytes, placed: list[PlacedSpan], absolute: dict[int, int]) -> None:
    check(head, truth(placed, absolute))


def test_tables_say_what_the_fragments_say() -> None:
    placed = two_chunks()
    head, absolute = stitched(placed, {0: 0, 1: 20_000}, 40_000)
    judge(head, placed, absolute)
    tables, body, size = read_tables(head)
    pictures, sound = tables
    assert (body, size) == (len(head), len(head) + 40_000)
    assert (pictures.kind, len(pictures.size), sound.kind, len(sound.size)) == (
        *("video", 55),
        *("audio", 97),
    )
    assert pictures.key.sum() == 11
    assert pictures.offset[25] == absolute[1] + 50
    # Both begin to be presented at 0; pictures are decoded two frames earlier.
    assert (pictures.wait_s, pictures.skip) == (0, 2 * 512)
    assert (sound.wait_s, sound.skip) == (0, 0)


@given(
    chunks=st.lists(
        st.tuples(st.integers(1, 60), st.integers(0, 90), st.integers(1, 12), st.booleans()),
        min_size=1,
        max_size=6,
    )
)
def test_any_chunks(chunks: list[tuple[int, int, int, bool]]) -> None:
    spans, offset, at = [], {}, 0
    for i, (frames, packets, gop, moved) in enumerate(chunks):
        tracks = [video(10.0 + i * 2 + 500 * moved, frames, gop=gop)]
        if packets:
            tracks.append(audio(10.0 + i * 2, packets, at=100_000))
        spans.append((i, span(tracks)))
        offset[i] = at
        at += 200_000
    placed = place(spans)
    head, absolute = stitched(placed, offset, at)
    judge(head, placed, absolute)


def test_objects_of_many_gigabytes() -> None:
    placed = two_chunks()
    head, absolute = stitched(placed, {0: 3 * GIB, 1: 400 * GIB}, 401 * GIB)
    judge(head, placed, absolute)
    tables, _, size = read_tables(head)
    assert next(tables).offset[-1] > 400 * GIB
    assert size == len(head) + 401 * GIB


def test_streams_of_days() -> None:
    """The times of 48 h at 48 kHz do not fit into 32 bits."""
    day = 24 * 3600.0
    placed = [
        PlacedSpan(
            chunk=i,
            span=span([audio(10.0 + i * day, 47)]),
            shift_s=Fraction(0),
            jump_s=0.0,
            new_run=False,
        )
        for i in range(3)
    ]
    head, absolute = stitched(placed, {0: 0, 1: 1000, 2: 2000}, 3000)
    judge(head, placed, absolute)
    tables, _, _ = read_tables(head)
    assert next(tables).dts[-1] > 2 * day * AUDIO_SCALE


def test_another_form_in_the_middle_gets_a_sample_entry_of_its_own() -> None:
    placed = place(
        [
            (0, span([video(10.0, 10)])),
            (1, span([video(10.4, 10)], width=96)),
            (2, span([video(10.8, 10)])),
        ]
    )
    head, absolute = stitched(placed, {0: 0, 1: 9000, 2: 18_000}, 27_000)
    judge(head, placed, absolute)
    stsd = boxes.need(head, "moov/trak/mdia/minf/stbl/stsd")
    assert struct.unpack_from(">I", head, stsd.body + 4) == (2,)
    stsc = boxes.need(head, "moov/trak/mdia/minf/stbl/stsc")
    (rows,) = struct.unpack_from(">I", head, stsc.body + 4)
    entries = np.frombuffer(head, ">u4", rows * 3, stsc.body + 8).reshape(rows, 3)[:, 2]
    assert entries.tolist() == [1, 2, 1]


def table_bytes(head: bytes, name: str) -> range:
    """The rows of the first track's table ``name``, without their count."""
    found = boxes.need(head, f"moov/trak/mdia/minf/stbl/{name}")
    return range(found.body + (12 if name == "stsz" else 8), found.end)


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ("stsz", "size"),
        ("co64", "offset"),
        ("stss", "key|stss"),
        ("ctts", "cts|differ in length"),
        ("stsc", "offset|differ in length|does not fit"),
        ("stts", "duration|differ in length|decode time|out of step"),
    ],
)
def test_every_flipped_bit_in_a_table_is_found(table: str, named: str) -> None:
    placed = two_chunks()
    placed[0].span.tracks[0].cts[3] = 512
    placed[0].span.tracks[0].size[7] = 77
    head, absolute = stitched(placed, {0: 0, 1: 20_000}, 40_000)
    judge(head, placed, absolute)
    wanted = truth(placed, absolute)
    rows = table_bytes(head, table)
    for at in rows:
        # The sample entry in a row of stsc is no business of fragments; a track's last duration
        # has nothing behind it.
        if (table, (at - rows.start) % 12 // 4) == ("stsc", 2) or (
            table == "stts" and at >= rows.stop - 4
        ):
            continue
        for bit in (0x01, 0x80):
            bad = bytearray(head)
            bad[at] ^= bit
            with pytest.raises((VerificationFailed, MediaInvalid), match=named):
                check(bytes(bad), wanted)


@pytest.mark.parametrize(
    ("column", "changed", "sample"),
    [("run_offset", 2, 10), ("size", 13, 13), ("cts", 13, 13), ("key", 13, 13), ("dts", 13, 12)],
)
def test_the_judge_names_track_column_and_sample(column: str, changed: int, sample: int) -> None:
    placed = two_chunks()
    head, absolute = stitched(placed, {0: 0, 1: 20_000}, 40_000)
    tables, body, size = read_tables(head)
    wanted = truth(placed, absolute)
    values = getattr(wanted[0].pieces[0].samples, column)
    values[changed] = ~values[changed]
    named = {"run_offset": "offset", "dts": "duration"}.get(column, column)
    with pytest.raises(
        VerificationFailed, match=rf"track 1 \(video\): {named} of sample {sample}:"
    ):
        verify.check_tables(tables, wanted, body, size)


def test_samples_outside_the_object_are_found() -> None:
    placed = two_chunks()
    head, absolute = stitched(placed, {0: 0, 1: 20_000}, 25_000)
    with pytest.raises(VerificationFailed, match="outside the object"):
        judge(head, placed, absolute)


def test_lost_and_doubled_samples_and_tracks_are_found() -> None:
    placed = two_chunks()
    head, absolute = stitched(placed, {0: 0, 1: 20_000}, 40_000)
    with pytest.raises(VerificationFailed, match="55 samples in moov, 25 in fragments"):
        judge(head, placed[:1], absolute)
    tables, body, size = read_tables(head)
    with pytest.raises(VerificationFailed, match="2 tracks in moov, 1 in fragments"):
        verify.check_tables(tables, truth(placed, absolute)[:1], body, size)


@pytest.mark.parametrize(
    "ranges",
    [
        [(0, 100), (100, 250)],
        [(0, 100)],
        [(0, 100), (100, 200), (100, 200)],
        [(100, 200), (0, 100)],
        [(0, 200), (100, 200)],
        [(50, 200)],
        [],
    ],
)
def test_hls_ranges_that_do_not_hold_each_fragment_once_are_found(
    ranges: list[tuple[int, int]],
) -> None:
    with pytest.raises(VerificationFailed):
        verify.check_ranges(ranges, [(0, 100), (100, 200)])
    assert verify.check_ranges([(0, 200)], [(0, 100), (100, 200)]) == 1


@given(st.data())
def test_no_damage_to_the_head_raises_anything_unexpected(data: st.DataObject) -> None:
    placed = two_chunks()
    head, absolute = stitched(placed, {0: 0, 1: 20_000}, 40_000)
    bad = bytearray(head)
    for _ in range(data.draw(st.integers(1, 4))):
        bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(st.integers(0, 255))
    with suppress(VerificationFailed, MediaInvalid):
        judge(bytes(bad), placed, absolute)


def test_the_memory_of_all_columns_is_never_taken_at_once() -> None:
    """Bytes for each sample; they were 51 and 35. Half a day has 3 million samples."""
    chunks, pictures, packets = 10, 10_000, 18_750
    tracks = [
        [video(10.0 + 400 * i, pictures), audio(10.0 + 400 * i, packets, at=100_000)]
        for i in range(chunks)
    ]
    placed = place([(i, span(own)) for i, own in enumerate(tracks)])
    offset = {i: i * 2**30 for i in range(chunks)}
    samples = chunks * (pictures + packets)
    tracemalloc.start()
    try:
        head, absolute = stitched(placed, offset, chunks * 2**30)
        stitched_bytes = tracemalloc.get_traced_memory()[1] / samples
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        judge(head, placed, absolute)
        judged_bytes = (tracemalloc.get_traced_memory()[1] - before) / samples
    finally:
        tracemalloc.stop()
    assert stitched_bytes < 20
    assert judged_bytes < 30
