"""Copied pictures encoded anew: which is shown when, where keyframes are, what fits together."""

import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache
from math import floor
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.errors import EncoderMissing
from pipeline.media import boxes
from pipeline.media.decode_pictures import decoded
from pipeline.media.encode import Encoded, Pictures, encode
from pipeline.media.entries import read_forms
from pipeline.media.interleave import Body
from pipeline.media.limits import DEFAULT_LIMITS
from pipeline.media.remux import Input, remux
from pipeline.media.sniff import Kind
from pipeline.media.spans import body_of
from pipeline.media.tables import sample_offsets
from pipeline.model import EncodedPictures
from tests import media
from tests.media import HEIGHT, WIDTH, Form

PLAIN = Form(seconds=4, audio_rate=0)
_OPTIONS = {
    "libx264": (("preset", "veryfast"), ("crf", "18")),
    "libx265": (("preset", "veryfast"), ("crf", "18")),
    "libsvtav1": (("preset", "10"), ("crf", "20")),
}
ENCODERS = list(_OPTIONS)
_FILL = "color=white:size={}:rate=25:duration=1,noise=alls=5"


def spec(encoder: str = "libx264", **others: object) -> EncodedPictures:
    given = {"width": WIDTH, "height": HEIGHT, "options": _OPTIONS.get(encoder, ()), **others}
    return EncodedPictures(encoder=encoder, **given)  # type: ignore[arg-type]


@cache
def segments(form: Form) -> tuple[bytes, ...]:
    """The init, empty for MPEG-TS, and the segments."""
    with tempfile.TemporaryDirectory() as folder:
        playlist = media.make_hls(Path(folder), form)
        init = playlist.parent / "init.mp4"
        found = [path.read_bytes() for path in sorted(playlist.parent.glob("seg_*"))]
        return (init.read_bytes() if init.exists() else b"", *found)


@cache
def bent(form: Form, *options: str) -> bytes:
    """The stream encoded once more, as one MPEG-TS."""
    with tempfile.TemporaryDirectory() as folder:
        playlist, target = media.make_hls(Path(folder), form), Path(folder) / "bent.ts"
        encoder = () if "-c:v" in options else ("-c:v", "libx264", "-crf", "10")
        media.ffmpeg("-i", playlist, *encoder, *options, target)
        return target.read_bytes()


@cache
def drawn(source: str, *options: str) -> bytes:
    """What FFmpeg's lavfi draws, as MPEG-TS of H.264."""
    encoder = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "15")
    return media.ffmpeg("-f", "lavfi", "-i", source, *encoder, *options, "-f", "mpegts", "-")[0]


def body(data: Sequence[bytes], init: bytes = b"", near_s: float = 0.0) -> Body:
    kind = Kind.MP4 if init else Kind.TS
    return body_of(
        remux(Input(kind=kind, segments=tuple(data), init=init, anchor_s=1, near_s=near_s))
    )


def whole(form: Form) -> Body:
    init, *data = segments(form)
    return body(data, init)


def one(given: Pictures | Body, output: EncodedPictures) -> Encoded:
    pictures = Pictures(body=given) if isinstance(given, Body) else given
    (made,) = encode(pictures, [output], DEFAULT_LIMITS)
    assert made is not None
    return made


def times(made: Body) -> list[Fraction]:
    """When pictures are shown, in seconds of recording time."""
    track = made.span.tracks[0]
    return [Fraction(int(pts), track.timescale) for pts in sorted(track.pts)]


def keys(made: Body) -> list[Fraction]:
    track = made.span.tracks[0]
    return [Fraction(int(pts), track.timescale) for pts in sorted(track.pts[track.key])]


def numbers(made: Body) -> list[int]:
    """On the pictures as they are shown, by FFmpeg itself."""
    return media.read_numbers(luma(made))


def luma(made: Body) -> np.ndarray:
    """Shape ``(n, height, width)``."""
    form = read_forms(made.span.init)[0]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.mp4"
        path.write_bytes(made.span.init + made.data)
        assert media.decode_complaints(path) == ""
        raw, _ = media.ffmpeg(
            *("-i", path, "-fps_mode", "passthrough", "-pix_fmt", "yuv420p"),
            *("-f", "rawvideo", "-"),
        )
    planes = np.frombuffer(raw, np.uint8).reshape(-1, form.height * 3 // 2, form.width)
    return planes[:, : form.height]


# --- at their own times ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        PLAIN,
        replace(PLAIN, container="fmp4"),
        replace(PLAIN, container="fmp4", video_codec="libx265"),
        replace(PLAIN, container="fmp4", video_codec="libsvtav1"),
    ],
    ids=["ts", "fmp4", "hevc", "av1"],
)
def test_each_picture_is_there_once_at_its_own_time(form: Form) -> None:
    source = whole(form)
    made = one(source, spec())
    assert (made.pictures, made.undecoded) == (100, 0)
    assert numbers(made.body) == list(range(100))
    assert times(made.body) == times(source)
    assert keys(made.body) == keys(source)
    assert made.body.span.tracks[0].end_s == pytest.approx(source.span.tracks[0].end_s)


def test_pictures_at_uneven_times_keep_them() -> None:
    source = body([bent(PLAIN, "-vf", "setpts='(N+0.4*mod(N\\,3))/25/TB'")])
    made = one(source, spec())
    assert numbers(made.body) == list(range(100))
    assert times(made.body) == times(source)
    assert len({b - a for a, b in zip(times(source), times(source)[1:], strict=False)}) > 1


def test_what_the_source_tells_of_a_piece_stays() -> None:
    source = whole(PLAIN)
    told = {"discontinuity": True, "sequence": 7, "playlist": 0, "era": 2, "piece": 3}
    made = one(Body(replace(source.span, **told), source.data), spec())  # type: ignore[arg-type]
    assert {name: getattr(made.body.span, name) for name in told} == told
    assert len(made.body.span.fragment_offset) == 4


# --- at a constant frame rate ------------------------------------------------------------------


@pytest.mark.parametrize("rate", [25, 30])
@pytest.mark.parametrize(
    "data",
    [
        lambda: segments(PLAIN)[1:],
        lambda: segments(replace(PLAIN, fps=30))[1:],
        lambda: segments(replace(PLAIN, fps=24))[1:],
        lambda: [bent(PLAIN, "-vf", "setpts='(N+0.4*mod(N\\,3)+8*gt(N\\,50))/25/TB'")],
    ],
    ids=["25", "30", "24", "vfr"],
)
def test_a_constant_rate_shows_what_ffmpeg_shows(
    data: Callable[[], Sequence[bytes]], rate: int, tmp_path: Path
) -> None:
    source = list(data())
    made = one(body(source), spec(frame_rate=Fraction(rate), gop=50))
    path = tmp_path / "source.ts"
    path.write_bytes(b"".join(source))
    gray, _ = media.ffmpeg(
        *("-copyts", "-i", path, "-vf", f"fps={rate}", "-fps_mode", "passthrough"),
        *("-f", "rawvideo", "-pix_fmt", "gray", "-"),
    )
    wanted = media.read_numbers(np.frombuffer(gray, np.uint8).reshape(-1, HEIGHT, WIDTH))
    assert numbers(made.body) == wanted
    first = floor(times(body(source))[0] * rate + Fraction(1, 2))
    assert times(made.body) == [Fraction(first + n, rate) for n in range(len(wanted))]
    assert keys(made.body) == times(made.body)[::50]


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30_000, 1001), Fraction(20)])
def test_chunks_side_by_side_have_each_tick_once(rate: Fraction) -> None:
    _, *data = segments(replace(PLAIN, fps=30))
    output = spec(frame_rate=rate)
    at_once = one(body(data), output)
    second = body(data[1:], near_s=2.0)
    first = Pictures(body=body(data[:1]), next_s=times(second)[0])
    parts = [one(first, output), one(Pictures(body=second, before=lambda: first.body), output)]
    assert [t for part in parts for t in times(part.body)] == times(at_once.body)
    assert [n for part in parts for n in numbers(part.body)] == numbers(at_once.body)


def test_a_constant_rate_goes_on_to_the_next_piece() -> None:
    source = whole(PLAIN)
    end_s = times(source)[-1] + Fraction(1, 25)
    output = spec(frame_rate=Fraction(25))
    made = one(Pictures(body=source, next_s=end_s + 2), output)
    assert numbers(made.body) == [*range(100), *[99] * 50]
    assert one(Pictures(body=source, next_s=end_s + 1000), output).pictures == 99 + 250
    assert one(Pictures(body=source, next_s=Fraction(1)), output).pictures == 100


def pausing(pause_s: int) -> Body:
    """Two seconds, and two further ones after a pause."""
    later = replace(PLAIN, first_frame=50, offset_s=2.0 + pause_s, seconds=2)
    return body([segments(PLAIN)[1], segments(later)[1]])


def test_a_long_pause_stays_a_hole() -> None:
    source = pausing(1000)
    made = one(source, spec(frame_rate=Fraction(25), gop=100))
    assert numbers(made.body) == [*range(50), *[49] * 249, *range(50, 100)]
    assert times(made.body)[298] == times(source)[49] + Fraction(249, 25)
    assert times(made.body)[299] == times(source)[50] > times(source)[49] + 990
    assert times(made.body)[299] in keys(made.body)


def test_own_times_go_on_behind_a_long_pause() -> None:
    source = pausing(200)
    made = one(source, spec())
    assert numbers(made.body) == list(range(100))
    assert times(made.body) == times(source)
    assert times(made.body)[50] in keys(made.body)


def test_pictures_that_are_shown_for_seconds() -> None:
    source = body([bent(PLAIN, "-vf", "setpts=N*4/TB", "-r", "1/4", "-frames:v", "12")])
    made = one(source, spec())
    assert numbers(made.body) == list(range(12))
    assert times(made.body) == times(source)
    assert made.body.span.tracks[0].dts.min() >= 0


# --- where it is cut ---------------------------------------------------------------------------


def cut(data: bytes) -> tuple[Body, Body]:
    """A piece as two, the second one from the third keyframe on."""
    source = body([data])
    track = source.span.tracks[0]
    assert (track.run_count == len(track.size)).all() or len(track.run_count) > 1
    first = int(np.flatnonzero(track.key)[2])
    offsets = sample_offsets(track.run_offset, track.run_count, track.size)
    parts = []
    for own in (slice(0, first), slice(first, None)):
        columns = {n: getattr(track, n)[own] for n in ("dts", "cts", "duration", "size", "key")}
        runs = {"run_offset": offsets[own], "run_count": np.ones_like(offsets[own])}
        part = replace(track, **columns, **runs)
        parts.append(Body(replace(source.span, tracks=(part,)), source.data))
    return parts[0], parts[1]


_OPEN = ("-bf", "3", "-x264-params", "open-gop=1:keyint=27:min-keyint=27:scenecut=0:b-adapt=0")
_OPEN_HEVC = (
    *("-c:v", "libx265", "-crf", "10"),
    *("-x265-params", "open-gop=1:keyint=25:min-keyint=25:scenecut=0:log-level=none"),
)


@pytest.mark.parametrize("options", [_OPEN, _OPEN_HEVC], ids=["h264", "hevc"])
def test_an_open_gop_has_what_it_refers_to(options: tuple[str, ...]) -> None:
    first, second = cut(bent(PLAIN, *options))
    track = second.span.tracks[0]
    leading = int((track.pts < track.pts[0]).sum())
    assert leading
    with_lead = one(Pictures(body=second, before=lambda: first), spec())
    assert with_lead.undecoded == 0
    assert [*numbers(one(first, spec()).body), *numbers(with_lead.body)] == list(range(100))
    alone = one(second, spec())
    assert alone.undecoded == leading
    assert numbers(alone.body) == list(range(100 - len(track.size) + leading, 100))


def test_a_lead_of_another_form_is_left_out() -> None:
    other = body([drawn("testsrc=size=64x64:rate=25:duration=1")])
    made = one(Pictures(body=whole(PLAIN), before=lambda: other), spec())
    assert numbers(made.body) == list(range(100))


@pytest.mark.parametrize("options", [(), _OPEN_HEVC], ids=["h264", "hevc"])
def test_pictures_before_the_first_keyframe_are_left_out(options: tuple[str, ...]) -> None:
    _, source = cut(bent(PLAIN, "-bf", "0", "-g", "25", *options))
    track = source.span.tracks[0]
    missing = 10
    late = replace(
        track,
        **{
            name: getattr(track, name)[missing:]
            for name in ("dts", "cts", "duration", "size", "key", "run_offset", "run_count")
        },
    )
    made = one(Body(replace(source.span, tracks=(late,)), source.data), spec())
    found = numbers(made.body)
    assert made.undecoded == len(late.size) - len(found)
    assert found == list(range(100 - len(found), 100))
    assert found[0] <= 75


def test_a_damaged_sample_costs_itself() -> None:
    source = whole(PLAIN)
    track = source.span.tracks[0]
    offsets = sample_offsets(track.run_offset, track.run_count, track.size)
    # Of those that nothing refers to: the last ones that are decoded before one is shown later.
    hurt = int(np.flatnonzero(np.diff(track.cts) > 0)[10])
    data = bytearray(source.data)
    at, size = int(offsets[hurt]), int(track.size[hurt])
    data[at : at + size] = b"\xff" * size
    made = one(Body(source.span, memoryview(data)), spec())
    assert (made.undecoded, made.pictures) == (1, 99)
    shown = sorted(track.pts).index(track.pts[hurt])
    assert numbers(made.body) == [n for n in range(100) if n != shown]


def test_decoders_side_by_side_do_not_meddle() -> None:
    """PyAV keeps what goes with packets for the whole process."""
    source = whole(PLAIN)
    first = decoded(Pictures(body=source), DEFAULT_LIMITS)
    shown = [next(first).pts]
    assert len(list(decoded(Pictures(body=source), DEFAULT_LIMITS))) == 100
    shown += [picture.pts for picture in first]
    assert shown == sorted(source.span.tracks[0].pts)


def test_nothing_comes_of_what_cannot_be_decoded() -> None:
    source = whole(PLAIN)
    torn = Body(source.span, memoryview(bytes(len(source.data))))
    outputs = [spec(), spec(frame_rate=Fraction(25))]
    assert encode(Pictures(body=torn), outputs, DEFAULT_LIMITS) == [None, None]


# --- keyframes and sample entries --------------------------------------------------------------


@pytest.mark.parametrize("encoder", ENCODERS)
def test_keyframes_are_where_they_must_be(encoder: str) -> None:
    source = whole(replace(PLAIN, gop_s=0.8, container="fmp4"))
    start_s = times(source)[0]

    def pictures(made: Encoded) -> list[int]:
        return [round((time - start_s) * 25) for time in keys(made.body)]

    # The source has them every 20 pictures.
    near, often = one(source, spec(encoder)), one(source, spec(encoder, gop=35))
    assert pictures(near) == [0, 40, 80]
    assert pictures(often) == [0, 35, 60, 95]
    constant = one(source, spec(encoder, gop=24, frame_rate=Fraction(25)))
    assert pictures(constant) == [0, 24, 48, 72, 96]
    for made in (near, often, constant):
        assert numbers(made.body) == list(range(100))
        assert len(made.body.span.fragment_offset) == len(keys(made.body))


@pytest.mark.parametrize("rate", [None, Fraction(25)])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_chunks_have_equal_sample_entries(encoder: str, rate: Fraction | None) -> None:
    _, *data = segments(PLAIN)
    output = spec(encoder, frame_rate=rate, max_rate=500_000, buffer_size=1_000_000)
    entries = [
        read_forms(one(body([piece], near_s=2.0 * n), output).body.span.init)[0]
        for n, piece in enumerate(data)
    ]
    assert entries[0] == entries[1]
    assert entries[0].entry[4:8] == {"libx264": b"avc1", "libx265": b"hvc1"}.get(encoder, b"av01")
    assert (entries[0].width, entries[0].height) == (WIDTH, HEIGHT)


def test_renditions_have_keyframes_at_the_same_times() -> None:
    source = whole(PLAIN)
    outputs = [spec(width=64, height=36), spec(), spec(width=96, height=54)]
    made = encode(Pictures(body=source), outputs, DEFAULT_LIMITS)
    found = [m for m in made if m is not None]
    assert [keys(m.body) for m in found] == [keys(source)] * 3
    assert [times(m.body) for m in found] == [times(source)] * 3
    assert [luma(m.body).shape[1:] for m in found] == [(36, 64), (72, 128), (54, 96)]
    assert numbers(found[1].body) == list(range(100))
    enlarged = luma(found[0].body).repeat(2, axis=1).repeat(2, axis=2)
    assert media.read_numbers(enlarged) == list(range(100))


def test_the_same_input_gives_the_same_bytes() -> None:
    source = body([drawn("testsrc2=size=1280x720:rate=25:duration=1.2,noise=alls=8")])
    sizes = [(1280, 720), (854, 480), (640, 360), (426, 240)]
    outputs = [spec(width=w, height=h) for w, h in sizes]
    outputs += [spec(encoder, width=426, height=240) for encoder in ENCODERS[1:]]
    runs = [
        [
            m and bytes(m.body.span.init + m.body.data)
            for m in encode(Pictures(body=source), outputs, DEFAULT_LIMITS)
        ]
        for _ in range(3)
    ]
    assert None not in runs[0]
    assert runs[0] == runs[1] == runs[2]


@pytest.mark.parametrize("encoder", ["libnone", "aac", "h264_v4l2m2m"])
def test_a_missing_encoder_is_named(encoder: str) -> None:
    with pytest.raises(EncoderMissing, match=encoder) as found:
        one(whole(PLAIN), spec(encoder))
    assert "libx264" in found.value.remedy


@pytest.mark.parametrize("option", [("preset", "quick"), ("presets", "fast")])
def test_an_option_that_an_encoder_refuses_is_named(option: tuple[str, str]) -> None:
    with pytest.raises(EncoderMissing, match="libx264"):
        one(whole(PLAIN), spec(options=(option,)))


# --- what is on the pictures -------------------------------------------------------------------


def test_pixels_become_square() -> None:
    source = body([bent(PLAIN, "-vf", "scale=96:72,setsar=4/3")])
    made = one(source, spec())
    assert numbers(made.body) == list(range(100))
    entry = read_forms(made.body.span.init)[0].entry
    pasp = boxes.find(entry, "pasp", 86)
    assert pasp is None or entry[pasp.body : pasp.end] == bytes([0, 0, 0, 1] * 2)


def test_another_shape_on_the_way_is_fitted_inside() -> None:
    wide, high = (
        drawn(_FILL.format("128x72")),
        drawn(_FILL.format("72x72"), "-output_ts_offset", "1"),
    )
    made = one(body([wide, high]), spec())
    pictures = luma(made.body)
    assert (made.pictures, made.undecoded) == (50, 0)
    assert pictures[:25].min() > 180
    assert pictures[25:, :, 30:98].min() > 180
    assert pictures[25:, :, :26].max() < 40
    assert pictures[25:, :, 102:].max() < 40
    small = one(body([wide, high]), spec(width=128, height=128))
    assert luma(small.body)[:25, :26].max() < 40
    assert luma(small.body)[25:].min() > 180


@pytest.mark.parametrize("encoder", ENCODERS)
def test_full_range_and_ten_bits_become_what_everything_plays(encoder: str) -> None:
    tags = "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709"
    full = f"color=white:size=128x72:rate=25:duration=1,scale=out_range=pc,{tags}:range=pc"
    deep = f"{_FILL.format('128x72')},{tags}"
    for source, pixels in ((full, "yuvj420p"), (deep, "yuv420p10le")):
        made = one(body([drawn(source, "-pix_fmt", pixels)]), spec(encoder))
        assert luma(made.body).mean() == pytest.approx(235, abs=5)
        with av.open(io.BytesIO(made.body.span.init + made.body.data)) as opened:
            context = opened.streams.video[0].codec_context
            assert context.pix_fmt == "yuv420p"
            assert (context.color_primaries, context.color_trc, context.colorspace) == (1, 1, 1)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("colours", [(22, 3, 8), (0, 0, 0), (100, 255, 16)])
def test_colours_that_hardly_anything_knows(encoder: str, colours: Sequence[int]) -> None:
    names = ("colour_primaries", "transfer_characteristics", "matrix_coefficients")
    told = ":".join(f"{name}={value}" for name, value in zip(names, colours, strict=True))
    plain = drawn(_FILL.format("128x72"))
    copied = ("-i", "-", "-c", "copy", "-bsf:v", f"h264_metadata={told}", "-f", "mpegts", "-")
    data, _ = media.ffmpeg(*copied, stdin=plain)
    assert one(body([data]), spec(encoder, width=64, height=36)).pictures == 25


def test_ten_bits_stay_where_they_are_asked_for() -> None:
    source = body([bent(PLAIN, "-pix_fmt", "yuv420p10le")])
    outputs = [spec("libx265", pixel_format="yuv420p10le"), spec(width=64, height=36)]
    deep, plain = encode(Pictures(body=source), outputs, DEFAULT_LIMITS)
    assert deep is not None
    assert plain is not None
    assert numbers(deep.body) == list(range(100))
    assert [read_forms(m.body.span.init)[0].codecs[:6] for m in (deep, plain)] == [
        "hvc1.2",
        "avc1.6",
    ]
