"""What is done to pictures between decoding and encoding: fields, colours, how they are turned."""

import io
import re
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from pipeline.media import boxes
from pipeline.media.decode_pictures import decoded
from pipeline.media.deinterlace import progressive
from pipeline.media.encode import Encoded, Pictures, encode
from pipeline.media.interleave import Body
from pipeline.media.limits import DEFAULT_LIMITS
from tests import media
from tests.outputs.field_pairs import field_pairs
from tests.outputs.test_encode_pictures import (
    PLAIN,
    body,
    cut,
    drawn,
    luma,
    one,
    spec,
    times,
    whole,
)

# --- fields ------------------------------------------------------------------------------------

_MOVING = "testsrc2=size=128x96:rate=50:duration=4,noise=alls=10:allf=t"
_WOVEN = f"{_MOVING},tinterlace=interleave_top"
_FIELDS = ("-flags", "+ildct+ilme", "-preset", "veryfast", "-bf", "2", "-g", "25")
_OPEN = ("-x264-params", "open-gop=1:keyint=27:min-keyint=27:scenecut=0:b-adapt=0")


def planes(frame: VideoFrame) -> bytes:
    rows = [
        np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, -1)[:, : plane.width]
        for plane in frame.planes
    ]
    return b"".join(plane.tobytes() for plane in rows)


def made(given: Pictures) -> list[bytes]:
    pictures = list(progressive(given, DEFAULT_LIMITS))
    assert not any(picture.frame.interlaced_frame for picture in pictures)
    return [planes(picture.frame) for picture in pictures]


def by_ffmpeg(data: bytes, filters: str) -> list[bytes]:
    raw, _ = media.ffmpeg(
        *("-f", "mpegts", "-i", "-", "-vf", filters, "-fps_mode", "passthrough"),
        *("-pix_fmt", "yuv420p", "-f", "rawvideo", "-"),
        stdin=data,
    )
    size = 128 * 96 * 3 // 2
    return [raw[at : at + size] for at in range(0, len(raw), size)]


@pytest.mark.parametrize("options", [(), _OPEN], ids=["closed", "open-gop"])
def test_fields_become_what_ffmpeg_makes_of_them_wherever_it_is_cut(
    options: tuple[str, ...],
) -> None:
    data = drawn(_WOVEN, *_FIELDS, *options)
    at_once = made(Pictures(body=body([data])))
    wanted = by_ffmpeg(data, "bwdif=mode=send_frame:deint=interlaced")
    # Of the first one, which has none before it, versions of FFmpeg make different ones.
    assert at_once[1:] == wanted[1:]
    assert len(at_once) == 100
    assert by_ffmpeg(data, "null")[1] != at_once[1]
    first, second = cut(data)
    parts = [
        Pictures(body=first, after=lambda: second),
        Pictures(body=second, before=lambda: first),
    ]
    assert [picture for part in parts for picture in made(part)] == at_once


def test_pictures_of_fields_keep_their_times() -> None:
    source = body([drawn(_WOVEN, *_FIELDS)])
    encoded = one(source, spec(height=96))
    assert times(encoded.body) == times(source)
    assert encoded.undecoded == 0
    assert luma(encoded.body).shape[0] == 100
    with av.open(io.BytesIO(encoded.body.span.init + encoded.body.data)) as opened:
        assert not any(frame.interlaced_frame for frame in opened.decode(video=0))


def test_progressive_pictures_are_left_alone_and_need_no_neighbours() -> None:
    def never() -> Body:
        raise AssertionError

    given = Pictures(body=whole(PLAIN), before=never, after=never)
    assert made(given) == [planes(picture.frame) for picture in decoded(given, DEFAULT_LIMITS)]


def test_progressive_pictures_among_others_are_left_alone() -> None:
    plain = drawn("testsrc2=size=128x96:rate=25:duration=1", "-bf", "0")
    woven = drawn(_WOVEN, *_FIELDS, "-output_ts_offset", "1.2")
    source = body([plain, woven])
    apart = [body([plain]), body([woven], near_s=1.2)]
    found = made(Pictures(body=source))
    assert found[:25] == made(Pictures(body=apart[0]))
    assert found[25:] == made(Pictures(body=apart[1], before=lambda: apart[0]))
    assert found[25] != made(Pictures(body=apart[1]))[0]


def test_neighbours_of_another_size_are_not_looked_at() -> None:
    other = body([drawn("testsrc2=size=64x64:rate=25:duration=1")])
    source = body([drawn(_WOVEN, *_FIELDS)])
    given = Pictures(body=source, before=lambda: other, after=lambda: other)
    assert made(given) == made(Pictures(body=source))


def test_a_sample_for_each_field() -> None:
    muxed = ("-r", "50", "-f", "h264", "-i", "-", "-c", "copy", "-f", "mpegts", "-")
    source = body([media.ffmpeg(*muxed, stdin=field_pairs(30))[0]])
    track = source.span.tracks[0]
    assert len(track.size) == 60
    encoded = one(source, spec(width=32, height=32))
    assert (encoded.pictures, encoded.undecoded) == (30, 0)
    assert times(encoded.body) == times(source)[::2]
    assert encoded.body.span.tracks[0].end_s == pytest.approx(track.end_s)
    # The fields of a picture differ by a hundred.
    lines = luma(encoded.body)[:, 8:24].mean(axis=2)
    assert np.abs(np.diff(lines, axis=1)).max() < 20


# --- colours -----------------------------------------------------------------------------------

_GREYS = ("0x101010", "0x808080", "0xffffff")
_BRIGHT = ("0xa02020", "0x30a030", "0x3030a0", "0xa0a020")


def hdr(transfer: str, colour: str) -> bytes:
    """A standard colour as it is in HDR, white as bright as BT.2408 has graphics."""
    mapped = f"t={transfer}:p=bt2020:m=bt2020nc:r=limited:npl=203"
    given = "tin=bt709:pin=bt709:min=gbr:rin=full"
    source = f"color={colour}:size=64x64:rate=25:duration=0.2,format=gbrp"
    return drawn(f"{source},zscale={given}:{mapped},format=yuv420p10le")


def rgb(encoded: Encoded) -> list[float]:
    """In the middle of the first picture."""
    raw, _ = media.ffmpeg(
        *("-f", "mp4", "-i", "-", "-frames:v", "1"),
        *("-vf", "crop=16:16,zscale=m=gbr:r=full,format=gbrp", "-f", "rawvideo", "-"),
        stdin=encoded.body.span.init + bytes(encoded.body.data),
    )
    green, blue, red = np.frombuffer(raw, np.uint8).reshape(3, -1).mean(axis=1)
    return [float(red), float(green), float(blue)]


def tags(encoded: Encoded) -> tuple[str | None, int, int, int, int]:
    with av.open(io.BytesIO(encoded.body.span.init + encoded.body.data)) as opened:
        c = opened.streams.video[0].codec_context
        return c.pix_fmt, c.color_primaries, c.color_trc, c.colorspace, c.color_range


@pytest.mark.parametrize(
    ("transfer", "number", "colours"),
    # FFmpeg's way from standard colours to HLG is not that of BT.2100: it bends each component.
    [("smpte2084", 16, _GREYS + _BRIGHT), ("arib-std-b67", 18, _GREYS)],
)
def test_hdr_becomes_standard_in_eight_bits_and_stays_in_ten(
    transfer: str, number: int, colours: tuple[str, ...]
) -> None:
    sizes = {"width": 64, "height": 64}
    outputs = [
        spec(**sizes),
        spec(width=32, height=32),
        spec("libx265", pixel_format="yuv420p10le", **sizes),
    ]
    for colour in colours:
        source = body([hdr(transfer, colour)])
        large, small, deep = encode(Pictures(body=source), outputs, DEFAULT_LIMITS)
        assert large is not None
        assert small is not None
        assert deep is not None
        assert tags(large) == tags(small) == ("yuv420p", 1, 1, 1, 1)
        assert tags(deep) == ("yuv420p10le", 9, number, 9, 1)
        wanted = [int(colour[at : at + 2], 16) for at in (2, 4, 6)]
        if min(wanted) == 255:
            wanted = [230] * 3  # Room for what is brighter.
        assert rgb(large) == pytest.approx(wanted, abs=8), colour
        assert rgb(small) == pytest.approx(wanted, abs=8), colour


_LUMINANCES = "L(10000000,50)"
_DISPLAY = f"G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450){_LUMINANCES}"
# As FFmpeg writes it; AV1 has other units of luminance.
_DISPLAY_SEEN = (
    "r(0.6800,0.3200) g(0.2650,0.6900) b(0.1500 0.0600) wp(0.3127, 0.3290) min_luminance=0.0050"
)


def lit(display: str, levels: str) -> Body:
    """HDR whose keyframes, one of five pictures, tell of their light."""
    tags = "color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc"
    drawing = f"testsrc2=size=64x64:rate=25:duration=0.4,format=yuv420p10le,setparams={tags}"
    told = f"keyint=5:mastering-display={display}:cll={levels}"
    return body([drawn(drawing, "-x264-params", told)])


def lit_by_boxes(*told: bytes) -> Body:
    """HDR whose pictures tell nothing of their light, but whose sample entry does."""
    plain = hdr("smpte2084", "0x808080")
    init = body([plain]).span.init
    path = ("moov", "trak", "mdia", "minf", "stbl", "stsd")
    entry = boxes.need(init, "/".join(path))
    sizes = [boxes.need(init, "/".join(path[: n + 1])).start for n in range(len(path))]
    # The entry lies behind version, flags and the number of entries.
    sizes.append(entry.body + 8)
    more = b"".join(told)
    told_init = bytearray(init[: entry.end] + more + init[entry.end :])
    for at in sizes:
        struct.pack_into(">I", told_init, at, struct.unpack_from(">I", init, at)[0] + len(more))
    return body([bytes(body([plain]).data)], bytes(told_init))


def light(encoded: Encoded) -> str:
    """What FFmpeg sees of it in the first picture."""
    _, seen = media.ffmpeg(
        *("-nostats", "-v", "info", "-f", "mp4", "-i", "-", "-frames:v", "1", "-vf", "showinfo"),
        *("-f", "null", "-"),
        stdin=encoded.body.span.init + bytes(encoded.body.data),
    )
    return "".join(re.findall(r"showinfo.*side data - ((?:Mastering|Content).*\n)", seen))


_LIGHT_BOXES = (
    boxes.make(
        b"mdcv",
        # Green, blue, red, white; the greatest luminance, the least.
        struct.pack(">8H", 13250, 34500, 7500, 3000, 34000, 16000, 15635, 16450),
        struct.pack(">2I", 10_000_000, 50),
    ),
    boxes.make(b"clli", struct.pack(">2H", 1000, 400)),
)


@pytest.mark.parametrize("encoder", ["libx264", "libx265", "libsvtav1"])
@pytest.mark.parametrize("where", ["pictures", "boxes"])
def test_hdr_keeps_what_it_tells_of_its_light(encoder: str, where: str) -> None:
    """SMPTE ST 2086 and CTA-861.3, in the pictures or in ISO/IEC 14496-12 12.1's boxes."""
    source = lit(_DISPLAY, "1000,400") if where == "pictures" else lit_by_boxes(*_LIGHT_BOXES)
    sizes = {"width": 64, "height": 64}
    outputs = [spec(**sizes), spec(encoder, pixel_format="yuv420p10le", **sizes)]
    standard, deep = encode(Pictures(body=source), outputs, DEFAULT_LIMITS)
    assert standard is not None
    assert deep is not None
    assert light(standard) == ""
    seen = light(deep)
    assert _DISPLAY_SEEN in seen
    assert "max_luminance=1000.0" in seen
    assert "MaxCLL=1000, MaxFALL=400" in seen


def test_light_that_cannot_be_is_left_out() -> None:
    beyond = _DISPLAY.replace("13250", "65535")
    dark = _DISPLAY.replace(_LUMINANCES, "L(50,50)")
    nothing = boxes.make(b"mdcv", bytes(24)), boxes.make(b"clli", bytes(4))
    for source in (lit(beyond, "0,0"), lit(dark, "0,0"), lit_by_boxes(*nothing)):
        deep = one(source, spec("libx265", width=64, height=64, pixel_format="yuv420p10le"))
        assert light(deep) == ""


# --- how they are turned -----------------------------------------------------------------------


def test_how_players_turn_pictures_is_kept(tmp_path: Path) -> None:
    """The matrix of a track: ISO/IEC 14496-12 8.3.2."""
    (tmp_path / "plain.ts").write_bytes(drawn("testsrc2=size=128x72:rate=25:duration=1"))
    media.ffmpeg("-i", tmp_path / "plain.ts", "-c", "copy", tmp_path / "plain.mp4")
    turned = ("-display_rotation", "90", "-i", tmp_path / "plain.mp4", "-c", "copy")
    fragments = ("-movflags", "empty_moov+default_base_moof+frag_keyframe")
    media.ffmpeg(*turned, *fragments, tmp_path / "turned.mp4")
    data = (tmp_path / "turned.mp4").read_bytes()
    source = body([data[data.index(b"moof") - 4 :]], data[: data.index(b"moof") - 4])
    encoded = one(source, spec())
    with av.open(io.BytesIO(encoded.body.span.init + encoded.body.data)) as opened:
        assert {frame.rotation for frame in opened.decode(video=0)} == {90}
