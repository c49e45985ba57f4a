"""The sample index: read from fragments, packed for the ledger and back."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import MediaInvalid
from pipeline.media import boxes
from pipeline.media.entries import read_forms, without_bit_rates
from pipeline.media.fragments import read_fragments, track_heads
from pipeline.media.remux import Input, remux
from pipeline.media.samples import SampleIndex, Span
from pipeline.media.sniff import Kind
from tests import indexes, media
from tests.media import Form
from tests.media_fixtures import Clips


def assert_equal(a: Span, b: Span) -> None:
    for field in dataclasses.fields(Span):
        if field.name not in ("tracks", "fragment_offset", "fragment_size"):
            assert getattr(a, field.name) == getattr(b, field.name)
    assert a.fragment_offset.tolist() == b.fragment_offset.tolist()
    assert a.fragment_size.tolist() == b.fragment_size.tolist()
    assert len(a.tracks) == len(b.tracks)
    for one, other in zip(a.tracks, b.tracks, strict=True):
        for field in dataclasses.fields(one):
            first, second = getattr(one, field.name), getattr(other, field.name)
            assert np.array_equal(first, second), field.name
            if isinstance(first, np.ndarray):
                assert first.dtype.kind == second.dtype.kind, field.name


def test_packing_and_back() -> None:
    spans = (
        indexes.span([indexes.video(10.0, 50), indexes.audio(10.0, 90, at=9_000)]),
        indexes.span([indexes.video(1e6, 7, at=2**40)], discontinuity=True, sequence=2**31),
    )
    found = SampleIndex.unpack(SampleIndex(spans=spans).pack())
    for mine, theirs in zip(found.spans, spans, strict=True):
        assert_equal(mine, theirs)
    assert SampleIndex.unpack(SampleIndex(spans=()).pack()) == SampleIndex(spans=())


def test_what_does_not_fit_stays_wide() -> None:
    far = indexes.video(0.0, 3)
    far.cts[1], far.duration[1] = -(2**31) - 1, 2**31
    (track,) = SampleIndex.unpack(SampleIndex(spans=(indexes.span([far]),)).pack()).spans[0].tracks
    assert (track.cts[1], track.duration[1]) == (-(2**31) - 1, 2**31)
    assert (track.size.dtype, track.dts.dtype) == (np.int32, np.int64)


def test_an_hour_takes_kilobytes() -> None:
    hour = indexes.span([indexes.video(0.0, 90_000, gop=50), indexes.audio(0.0, 168_750, at=10**7)])
    assert len(SampleIndex(spans=(hour,)).pack()) < 40_000


@pytest.mark.parametrize("form", [Form(), Form(container="fmp4")], ids=["ts", "fmp4"])
def test_fragments_hold_what_ffmpeg_reads_in_them(form: Form, clips: Clips, tmp_path: Path) -> None:
    """Sizes, times and keyframes equal those of FFmpeg's demuxer, and the bytes are where the index
    says."""
    folder = clips(form).parent
    names = sorted(path.name for path in folder.glob("seg_*"))[:3]
    init = (folder / "init.mp4").read_bytes() if form.container == "fmp4" else b""
    kind = Kind.MP4 if init else Kind.TS
    data = tuple((folder / n).read_bytes() for n in names)
    made = remux(Input(kind=kind, segments=data, init=init, anchor_s=0, near_s=0.0))
    span, init_bytes = read_fragments(made.data)
    path = tmp_path / "chunk.mp4"
    path.write_bytes(made.data)
    packets = media.packets(path)
    for number, track in enumerate(span.tracks):
        wanted = [p for p in packets if p.stream == number]
        assert track.size.tolist() == [p.size for p in wanted]
        seconds = [float(p.dts) for p in wanted]
        assert (track.dts / track.timescale - seconds) == pytest.approx(
            np.full(len(wanted), track.dts[0] / track.timescale - seconds[0]), abs=1e-9
        )
        assert track.size.sum() == track.size[: track.run_count.sum()].sum()
    assert made.packets == sum(len(track.size) for track in span.tracks)
    assert span.tracks[0].key.sum() == 6
    body = made.data[init_bytes:]
    for offset in span.fragment_offset:
        assert body[offset + 4 : offset + 8] == b"moof"
    assert span.fragment_end[-1] == len(body)
    assert (span.fragment_end[:-1] == span.fragment_offset[1:]).all()


def test_foreign_boxes_among_fragments_are_refused() -> None:
    with pytest.raises(MediaInvalid, match="junk"):
        read_fragments(indexes.init() + boxes.make(b"junk"))


@pytest.mark.parametrize("size", [0, 1, 10, 40, 70])
def test_a_fragment_that_lies_about_its_length_is_refused(size: int) -> None:
    tfhd = boxes.make_full(b"tfhd", 0, 0x20000, (1).to_bytes(4, "big"))
    tfdt = boxes.make_full(b"tfdt", 1, 0, bytes(8))
    trun = boxes.make_full(b"trun", 0, 0x301, (1000).to_bytes(4, "big") + bytes(size))
    moof = boxes.make(b"moof", boxes.make(b"traf", tfhd, tfdt, trun))
    with pytest.raises(MediaInvalid):
        read_fragments(indexes.init() + moof)


def test_forms_of_an_init_segment() -> None:
    video, audio = read_forms(indexes.init(width=96))
    assert (video.kind, video.width, video.height, audio.kind) == ("video", 96, 64, "audio")
    assert video.codecs.startswith("avc1.")
    assert audio.codecs == "mp4a.40.2"
    assert track_heads(indexes.init()) == {
        1: (indexes.VIDEO_SCALE, "video"),
        2: (indexes.AUDIO_SCALE, "audio"),
    }


def test_bit_rates_do_not_make_inits_differ() -> None:
    init = indexes.init()
    at = init.index(b"esds")
    tag = init.index(b"\x04", at)
    rates = init.index(b"\x40\x15", tag) + 5
    other = init[:rates] + b"\1\2\3\4\5\6\7\x08" + init[rates + 8 :]
    assert other != init
    assert without_bit_rates(other) == without_bit_rates(init)
    assert len(without_bit_rates(other)) == len(init)
    assert without_bit_rates(b"esds") == b"esds"
