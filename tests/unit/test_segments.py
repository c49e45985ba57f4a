"""What FFmpeg would pass over in silence: torn, silent and jumping segments."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.media import boxes
from pipeline.media.segments import Joined, Tally, has_torn_boxes, without_torn_end
from pipeline.media.timeline import KEPT_PAUSE_S

TS_PACKET = b"\x47" + bytes(187)
CLOCK = {0: Fraction(1, 1000), 1: Fraction(1, 48_000)}


def test_a_torn_ts_packet_goes_and_nothing_else() -> None:
    whole = TS_PACKET * 5
    assert without_torn_end(whole) == whole
    assert without_torn_end(whole + TS_PACKET[:100]) == whole
    for other in (b"", b"\x47", b"ID3" + bytes(1000), boxes.make(b"styp", bytes(500))):
        assert without_torn_end(other) == other


def test_boxes_must_end_where_the_segment_ends() -> None:
    whole = boxes.make(b"styp", b"x") + boxes.make(b"moof", b"y") + boxes.make(b"mdat", bytes(90))
    assert not has_torn_boxes(whole)
    assert not has_torn_boxes(TS_PACKET * 3)
    assert has_torn_boxes(whole[:-1])
    assert has_torn_boxes(whole + b"<html>")
    assert has_torn_boxes(whole[:12])


@given(st.lists(st.binary(max_size=20), max_size=6), st.data())
def test_joined_pieces_read_like_one_file(pieces: list[bytes], data: st.DataObject) -> None:
    whole, joined = b"".join(pieces), Joined(pieces)
    for _ in range(5):
        at = data.draw(st.integers(0, len(whole) + 3))
        assert joined.seek(at) == min(at, len(whole))
        found = bytearray()
        while piece := joined.read(data.draw(st.integers(1, 9))):
            found += piece
        assert bytes(found) == whole[at:]
        assert joined.tell() == len(whole)
    assert joined.seek(-len(whole), 2) == 0


def judged(
    *notes: tuple[int, int, int, int], segments: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """``notes``: stream, segment (-1: unknown), milliseconds (stream 0) or samples, duration."""
    tally = Tally(b"init", [bytes(100)] * segments)
    for stream, segment, dts, duration in notes:
        tally.note((stream, 4 + 100 * segment if segment >= 0 else -1, dts, duration))
    verdict = tally.judge(CLOCK)
    return verdict.cuts, verdict.silent


def test_segments_that_continue_each_other() -> None:
    notes = [(0, n // 2, n * 1000, 1000) for n in range(6)]
    assert judged(*notes, segments=3) == ((), ())


def test_silent_segments_are_told() -> None:
    assert judged((0, 0, 0, 1000), (0, 3, 1000, 1000), segments=4) == ((), (1, 2))
    assert judged((0, 0, 0, 1000), segments=2)[1] == (1,)
    assert judged(segments=1)[1] == (0,)
    # A packet without a position is where the one before it was.
    assert judged((0, 0, 0, 1000), (0, -1, 1000, 1000), segments=2)[1] == (1,)


def test_jumps_are_told() -> None:
    late = round(1000 * KEPT_PAUSE_S) + 1
    steady = [(0, 0, 0, 1000), (0, 1, 1000, 1000)]
    assert judged(*steady, (0, 2, 2000 + late, 1000), segments=3)[0] == (2,)
    assert judged(*steady, (0, 2, 2000 + late - 2, 1000), segments=3)[0] == ()


def test_segments_that_are_encoded_otherwise_are_told() -> None:
    tally = Tally(b"init", [bytes(100)] * 4)
    for number in range(4):
        tally.note((0, 4 + 100 * number, number * 1000, 1000))
    for position in (4 + 250, 4 + 300, 10):
        tally.changed(position)
    tally.damaged(4 + 199)
    verdict = tally.judge(CLOCK)
    assert (verdict.changed, verdict.cuts, verdict.damaged) == ((0, 2, 3), (2, 3), (1,))


def test_one_track_that_pauses_is_no_jump() -> None:
    pictures = [(0, n, n * 1000, 1000) for n in range(5)]
    sound = [(1, 0, 0, 48_000), (1, 4, 4 * 48_000, 48_000)]
    assert judged(*pictures, *sound, segments=5) == ((), ())


@pytest.mark.parametrize("step_ms", [40, 500, 900])
def test_unknown_durations_are_taken_from_the_steps(step_ms: int) -> None:
    notes = [(0, n, n * step_ms, 0) for n in range(6)]
    # Nothing tells the first frame's length: only later ones must not look like jumps.
    assert judged(*notes, segments=6)[0] in ((), (1,))
