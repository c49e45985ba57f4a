"""What is done to pictures between decoding and encoding: fields, colours, how they are turned."""

import io

import av
import numpy as np
import pytest

from pipeline.media.encode import Encoded, Pictures, encode
from pipeline.media.limits import DEFAULT_LIMITS
from tests import media
from tests.outputs.test_encode_pictures import (
    body,
    drawn,
    spec,
)

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
