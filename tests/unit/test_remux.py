"""Segments in, fragments out: what is looked at first, what is refused, what the clock does."""

from fractions import Fraction
from pathlib import Path

import pytest

from pipeline.errors import MediaInvalid
from pipeline.media.entries import without_bit_rates
from pipeline.media.fragments import read_fragments
from pipeline.media.remux import CannotCopy, Input, Remuxed, first_look, remux
from pipeline.media.sniff import Kind
from pipeline.model import PictureForm
from pipeline.timebase import LEAD_S
from tests import media
from tests.media import Form
from tests.media_fixtures import Clips


def segments(playlist: Path) -> tuple[list[bytes], bytes]:
    init = playlist.parent / "init.mp4"
    found = [path.read_bytes() for path in sorted(playlist.parent.glob("seg_*"))]
    return found, init.read_bytes() if init.exists() else b""


def given(data: list[bytes], init: bytes = b"", *, anchor_s: int = 0, near_s: float = 0.0) -> Input:
    kind = Kind.MP4 if init or data[0][4:8] in (b"styp", b"moof") else Kind.TS
    return Input(kind=kind, segments=tuple(data), init=init, anchor_s=anchor_s, near_s=near_s)


def remuxed(data: list[bytes], init: bytes = b"", **times: float) -> Remuxed:
    return remux(given(data, init, **times))


@pytest.mark.parametrize(
    "form", [Form(), Form(offset_s=50_000.0), Form(container="fmp4")], ids=["ts", "far", "fmp4"]
)
def test_a_first_look_tells_clock_streams_and_rate(form: Form, clips: Clips) -> None:
    data, init = segments(clips(form))
    look = first_look(given(data[:1], init))
    assert look.streams == ("h264 video", "aac audio")
    assert look.anchor_s == pytest.approx(form.offset_s + 1, abs=1)
    assert look.bytes_per_s == pytest.approx(len(data[0]) / form.segment_s, rel=0.1)
    assert look.pictures == PictureForm(width=128, height=72)
    assert look.sound_bits_per_s == pytest.approx(65_000, rel=0.1)


@pytest.mark.parametrize(
    ("sar", "rate", "told"),
    [
        ("16/15", "30000/1001", (Fraction(16, 15), Fraction(30_000, 1001))),
        ("100/1", "250", (Fraction(1), Fraction(25))),
    ],
    ids=["anamorphic", "absurd"],
)
def test_a_first_look_tells_the_shape_and_rate_of_pictures(
    sar: str, rate: str, told: tuple[Fraction, Fraction], tmp_path: Path
) -> None:
    path = tmp_path / "a.ts"
    source = f"testsrc=size=128x72:rate={rate}:duration=1,setsar={sar}"
    media.ffmpeg("-f", "lavfi", "-i", source, "-c:v", "libx264", "-pix_fmt", "yuv420p", path)
    look = first_look(given([path.read_bytes()]))
    assert look.pictures == PictureForm(width=128, height=72, aspect=told[0], frame_rate=told[1])
    assert look.sound_bits_per_s == 0


def test_a_first_look_at_sound_tells_no_pictures(clips: Clips) -> None:
    data, _ = segments(clips(Form(fps=0)))
    assert first_look(given(data[:1])).pictures is None


def test_recording_time_begins_behind_the_lead(clips: Clips) -> None:
    data, init = segments(clips(Form(offset_s=50_000.0)))
    anchor_s = first_look(given(data[:1], init)).anchor_s
    for number, near_s in ((0, 0.0), (3, 6.0)):
        made = remuxed(data[number : number + 1], init, anchor_s=anchor_s, near_s=near_s)
        span, _ = read_fragments(made.data)
        for track in span.tracks:
            assert LEAD_S + near_s - 0.1 <= track.start_s < LEAD_S + near_s + 2


def test_a_chunk_cut_elsewhere_has_the_same_times(clips: Clips) -> None:
    data, init = segments(clips(Form()))
    whole = remuxed(data, init, anchor_s=1, near_s=0.0)
    span, _ = read_fragments(whole.data)
    later = remuxed(data[2:], init, anchor_s=1, near_s=4.0)
    tail, _ = read_fragments(later.data)
    for a, b in zip(span.tracks, tail.tracks, strict=True):
        assert a.dts[-len(b.dts) :].tolist() == b.dts.tolist()
        assert a.cts[-len(b.cts) :].tolist() == b.cts.tolist()
        assert a.size[-len(b.size) :].tolist() == b.size.tolist()
    assert without_bit_rates(span.init) == without_bit_rates(tail.init)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["-c:v", "mpeg2video"], "mpeg2video"),
        (["-c:v", "libx264", "-c:a", "mp2"], "mp2"),
    ],
)
def test_codecs_that_cannot_be_copied_are_named(
    options: list[str], named: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.ts"
    media.ffmpeg(
        *("-f", "lavfi", "-i", "testsrc=size=64x64:rate=25:duration=1"),
        *("-f", "lavfi", "-i", "sine=duration=1"),
        *options,
        path,
    )
    with pytest.raises(CannotCopy, match=named):
        remuxed([path.read_bytes()])
    assert any(named in stream for stream in first_look(given([path.read_bytes()])).streams)


@pytest.mark.parametrize(
    "data",
    [b"\0" * 1000, b"<html></html>", b"\x47" + bytes(187), bytes(range(256)) * 40],
    ids=["zeros", "html", "one-packet", "bytes"],
)
def test_what_is_no_media_is_invalid(data: bytes) -> None:
    with pytest.raises(MediaInvalid):
        first_look(given([data]))
    with pytest.raises(MediaInvalid):
        remuxed([data])


def test_fragments_without_their_init_are_invalid(clips: Clips) -> None:
    data, _ = segments(clips(Form(container="fmp4")))
    with pytest.raises(MediaInvalid):
        first_look(given(data[:1]))


def test_a_silent_segment_and_a_jump_are_told(clips: Clips) -> None:
    data, init = segments(clips(Form()))
    junk = bytes(len(data[1]))
    made = remuxed([data[0], junk, data[2]], init, anchor_s=1, near_s=0.0)
    assert (made.silent, made.cuts) == ((1,), (2,))
    made = remuxed([data[0], data[1], data[4]], init, anchor_s=1, near_s=0.0)
    assert (made.silent, made.cuts) == ((), (2,))
    made = remuxed(data, init, anchor_s=1, near_s=0.0)
    assert (made.silent, made.cuts, made.torn) == ((), (), 0)
    assert made.packets == 300 + 564
