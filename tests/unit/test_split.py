"""Pictures and sounds that share fragments, taken apart: the same samples, each in its own."""

import dataclasses
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import MediaInvalid
from pipeline.media import boxes
from pipeline.media.entries import read_forms
from pipeline.media.fragments import read_fragments, track_heads
from pipeline.media.interleave import Body
from pipeline.media.remux import Input, remux
from pipeline.media.samples import TrackSamples
from pipeline.media.sniff import Kind
from pipeline.media.spans import body_of
from pipeline.media.split import split
from pipeline.media.tables import sample_offsets
from tests import media

SOUNDS = ("sine=440", "sine=880", "anoisesrc=amplitude=0.1")


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Body]:
    """A body of 5 s with pictures of a codec, or none, and some sounds."""
    made: dict[tuple[str, int, int], Body] = {}

    def body(codec: str = "libx264", sounds: int = 1, b_frames: int = 2) -> Body:
        form = (codec, sounds, b_frames)
        if form not in made:
            path = tmp_path_factory.mktemp("body") / "source.mp4"
            inputs = ["-f", "lavfi", "-i", "testsrc=size=128x72:rate=25:duration=5"] * bool(codec)
            for sound in SOUNDS[:sounds]:
                inputs += ["-f", "lavfi", "-i", f"{sound}:duration=5"]
            options = ["-map", "0:v", "-c:v", codec, "-g", "20", "-bf", str(b_frames)]
            maps = [part for n in range(sounds) for part in ("-map", f"{n + bool(codec)}:a")]
            media.ffmpeg(*inputs, *options * bool(codec), *maps, "-c:a", "aac", path)
            given = Input(kind=Kind.MP4, segments=(path.read_bytes(),), anchor_s=0, near_s=0.0)
            made[form] = body_of(remux(given))
        return made[form]

    return body


FORMS = [
    pytest.param(("libx264", 1, 2), id="h264"),
    pytest.param(("libx264", 3, 0), id="three sounds, no b-frames"),
    pytest.param(("libx265", 2, 3), id="hevc, two sounds"),
    pytest.param(("", 2, 0), id="sounds only"),
]


def whole(body: Body) -> bytes:
    return body.span.init + bytes(body.data)


def samples_of(data: bytes, track: TrackSamples, base: int) -> list[bytes]:
    offsets = base + sample_offsets(track.run_offset, track.run_count, track.size)
    return [data[at : at + n] for at, n in zip(offsets, track.size, strict=True)]


def assert_same_samples(a: TrackSamples, b: TrackSamples) -> None:
    assert (a.track_id, a.timescale, a.kind) == (b.track_id, b.timescale, b.kind)
    for name in ("dts", "cts", "duration", "size", "key", "run_count"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name


@pytest.mark.parametrize("form", FORMS)
def test_each_track_has_the_same_samples_in_fragments_of_its_own(
    form: tuple[str, int, int], make: Callable[..., Body]
) -> None:
    given = make(*form)
    before, init_bytes = read_fragments(whole(given))
    found = split(given)
    first = 0 if form[0] else 1
    assert [body.span.sound for body in found] == list(range(first, form[1] + 1))
    assert len(found) == len(before.tracks)
    for body, old, in_span in zip(found, before.tracks, given.span.tracks, strict=True):
        (told,) = body.span.tracks
        assert_same_samples(told, in_span)
        read, own_init_bytes = read_fragments(whole(body))
        assert read.init == body.span.init
        (new,) = read.tracks
        assert_same_samples(new, old)
        assert new.run_offset.tolist() == told.run_offset.tolist()
        assert read.fragment_offset.tolist() == body.span.fragment_offset.tolist()
        assert read.fragment_size.tolist() == body.span.fragment_size.tolist()
        mine = samples_of(whole(body), new, own_init_bytes)
        assert mine == samples_of(whole(given), old, init_bytes)
        overhead = len(body.data) - sum(map(len, mine))
        assert overhead < 250 * len(read.fragment_offset) + 16 * len(mine)


@pytest.mark.parametrize("form", FORMS)
def test_ffmpeg_reads_the_same_in_them(
    form: tuple[str, int, int], make: Callable[..., Body], tmp_path: Path
) -> None:
    given = make(*form)
    (tmp_path / "whole.mp4").write_bytes(whole(given))
    wanted = media.packets(tmp_path / "whole.mp4", "-copyts")
    for number, body in enumerate(split(given)):
        path = tmp_path / f"{number}.mp4"
        path.write_bytes(whole(body))
        own = [dataclasses.replace(p, stream=0) for p in wanted if p.stream == number]
        assert media.packets(path, "-copyts") == own
        assert media.decode_complaints(path) == ""


@pytest.mark.parametrize("form", FORMS)
def test_inits_describe_one_track_as_before(
    form: tuple[str, int, int], make: Callable[..., Body]
) -> None:
    given = make(*form)
    forms = read_forms(given.span.init)
    for body, wanted in zip(split(given), forms, strict=True):
        (found,) = read_forms(body.span.init)
        enabled = wanted.tkhd[:11] + b"\3" + wanted.tkhd[12:]
        assert found == dataclasses.replace(wanted, tkhd=enabled)
        assert body.span.init.count(b"trex") == 1
        ftyp = boxes.need(given.span.init, "ftyp").end
        assert body.span.init[:ftyp] == given.span.init[:ftyp]


def test_what_else_is_told_of_a_span_stays(make: Callable[..., Body]) -> None:
    given = make()
    told = {"discontinuity": True, "sequence": 7, "playlist": 2, "era": 3, "piece": 4}
    for body in split(Body(dataclasses.replace(given.span, **told), given.data)):
        assert {name: getattr(body.span, name) for name in told} == told


def test_a_track_alone_stays_as_it_is(make: Callable[..., Body]) -> None:
    pictures = make(sounds=0)
    assert split(pictures)[0] is pictures
    sound = make("", 1, 0)
    (found,) = split(sound)
    assert found.data is sound.data
    assert found.span == dataclasses.replace(sound.span, sound=1)


def test_sound_of_which_nothing_came_is_not_described_and_keeps_its_number(
    make: Callable[..., Body],
) -> None:
    given = make("libx264", 3, 0)
    pictures, _, second, _ = split(given)
    for body, number in ((pictures, 0), (second, 2)):
        span = dataclasses.replace(body.span, init=given.span.init, sound=0)
        (found,) = split(Body(span, body.data))
        assert found.span.init == body.span.init
        assert found.span.sound == number
        assert bytes(found.data) == bytes(body.data)


def patched(body: Body, box: bytes, at: int, data: bytes) -> Body:
    """``data`` goes ``at`` bytes behind the name of the last box of that name."""
    changed = bytearray(body.data)
    begin = changed.rindex(box) + at
    changed[begin : begin + len(data)] = data
    return Body(body.span, memoryview(changed))


@pytest.mark.parametrize(
    ("box", "at", "data"),
    [
        pytest.param(b"tfhd", 4, struct.pack(">I", 0x39), id="offsets count from the file"),
        pytest.param(b"tfhd", 4, struct.pack(">I", 0x38), id="offsets count from the last data"),
        pytest.param(b"tfhd", 8, struct.pack(">I", 9), id="another track"),
        pytest.param(b"tfhd", 0, b"junk", id="no tfhd"),
        pytest.param(b"trun", 4, struct.pack(">I", 0xF04), id="no data offset"),
        pytest.param(b"trun", 12, struct.pack(">i", 8), id="samples in the moof"),
        pytest.param(b"trun", 0, b"junk", id="no trun"),
        pytest.param(b"traf", -4, struct.pack(">I", 2**31), id="traf behind its moof"),
        pytest.param(b"trun", -4, struct.pack(">I", 7), id="trun shorter than its header"),
        pytest.param(b"moof", -4, struct.pack(">I", 2**30), id="moof behind its end"),
        pytest.param(b"moof", 0, b"junk", id="no moof"),
    ],
)
def test_damaged_boxes_are_refused(
    box: bytes, at: int, data: bytes, make: Callable[..., Body]
) -> None:
    with pytest.raises(MediaInvalid):
        split(patched(make(), box, at, data))


def test_a_fragment_that_is_cut_off_is_refused(make: Callable[..., Body]) -> None:
    body = make()
    for end in (int(body.span.fragment_offset[-1]) + size for size in (0, 7, 60, 200)):
        with pytest.raises(MediaInvalid):
            split(Body(body.span, body.data[:end]))


def test_a_damaged_init_is_refused(make: Callable[..., Body]) -> None:
    body = make()
    at = boxes.need(body.span.init, "moov").start
    damaged = body.span.init[:at] + struct.pack(">I", 2**30) + body.span.init[at + 4 :]
    with pytest.raises(MediaInvalid):
        split(Body(dataclasses.replace(body.span, init=damaged), body.data))
    assert len(track_heads(body.span.init)) == 2
