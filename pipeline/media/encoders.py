"""Encoders of pictures as profiles name them: opened so that chunks which are encoded apart fit
together.

One thread each unless the profile has more, since workers share their cores; the same bytes
whenever and wherever they are made; parameter sets in the sample entry only; keyframes only where
they are asked for.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
from av.codec import Codec
from av.codec.codec import UnknownCodecError
from av.codec.context import Flags
from av.container import OutputContainer
from av.video.reformatter import ColorRange

from pipeline.errors import EncoderMissing
from pipeline.media.mastering import Light
from pipeline.media.scale import Colours
from pipeline.model import EncodedPictures

_PARAMETERS = {
    "libx264": (
        "x264-params",
        # Stitchable: headers do not depend on what is encoded.
        "threads={0}:lookahead-threads=1:sync-lookahead=0:scenecut=0:open-gop=0:stitchable=1",
    ),
    "libx265": (
        "x265-params",
        # Its info names what the CPU can do, and would be part of the sample entry.
        "pools={1}:frame-threads=1:scenecut=0:open-gop=0:info=0:log-level=none",
    ),
    "libsvtav1": ("svtav1-params", "lp={0}:scd=0"),
}
# Those that keep to the limits of a decoder's buffer exactly.
BUFFERED = frozenset({"libx264", "libx265"})
# How full a decoder's buffer is where a chunk begins. While a stream is at its limit these encoders
# leave it 0.47 to 0.52 full, whatever it was at first, so that it is so where the chunk before has
# ended; those few that leave less are encoded again.
BUFFER_AT_JOINS = 0.45
# For those that have such options.
_KEYFRAMES = {"forced-idr": "1", "no-scenecut": "1"}
_UP_TO_AVX2 = "asm=MMX2,SSE2Fast,SSSE3,SSE4.2,AVX,FMA3,BMI2,AVX2"


@dataclass(frozen=True, slots=True)
class Encoding:
    """``tick_s``: the unit of all times; ``rate``: pictures per second, for levels and buffers."""

    spec: EncodedPictures
    tick_s: Fraction
    rate: Fraction
    colours: Colours

    def add_stream(self, container: OutputContainer) -> Any:
        """A stream with its encoder. Raises ``EncoderMissing``."""
        name = self.spec.encoder
        if not _is_there(name):
            raise EncoderMissing(f"FFmpeg has no encoder {name} of pictures here", _remedy())
        with self.working():
            stream: Any = container.add_stream(self.spec.encoder, rate=self.rate)
            self._open(stream.codec_context)
        return stream

    def another(self) -> Any:
        """An encoder that goes on with the stream. Raises ``EncoderMissing``."""
        with self.working():
            context: Any = av.CodecContext.create(self.spec.encoder, "w")
            # As PyAV sets them for a stream.
            context.bit_rate, context.framerate = 0, self.rate
            self._open(context)
        return context

    @contextmanager
    def working(self) -> Iterator[None]:
        """What an encoder refuses, or what becomes of its device, is ``EncoderMissing``."""
        try:
            yield
        except (av.error.FFmpegError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            message = f"{self.spec.encoder} cannot be used here: {reason}"
            raise EncoderMissing(message, _remedy()) from error

    def _open(self, context: Any) -> None:
        spec = self.spec
        context.width, context.height, context.pix_fmt = spec.width, spec.height, spec.pixel_format
        context.time_base, context.sample_aspect_ratio = self.tick_s, Fraction(1)
        colours = self.colours
        context.color_primaries, context.color_trc = colours.primaries, colours.transfer
        context.colorspace = colours.matrix
        context.color_range = ColorRange.MPEG if colours.is_told else ColorRange.UNSPECIFIED
        context.thread_count, context.gop_size = spec.threads, spec.gop
        context.flags |= int(Flags.global_header) | int(Flags.closed_gop)
        if context.codec.canonical_name == "hevc":
            context.codec_tag = "hvc1"  # Apple's players take no hev1.
        known = {o.name for o in context.supported_options.private}
        context.options = _options(spec, known, colours.light)
        # SVT-AV1 writes to stderr what it is and does, unless it is told to name errors only.
        os.environ.setdefault("SVT_LOG", "1")
        context.open()
        if context.options:
            raise EncoderMissing(f"{spec.encoder} has no option {', '.join(context.options)}")


def _remedy() -> str:
    return f"There are {', '.join(filter(_is_there, _PARAMETERS))}"


def _options(spec: EncodedPictures, known: set[str], light: Light) -> dict[str, str]:
    options = dict(spec.options)
    if spec.max_rate:
        options |= {"maxrate": str(spec.max_rate), "bufsize": str(spec.buffer_size)}
    options |= {name: value for name, value in _KEYFRAMES.items() if name in known}
    if spec.encoder in _PARAMETERS:
        name, ours = _PARAMETERS[spec.encoder]
        ours = ours.format(spec.threads, spec.threads if spec.threads > 1 else "none")
        # With AVX-512 its macroblock tree comes out otherwise where a row is no multiple of eight.
        if spec.encoder == "libx264" and -(-spec.width // 16) % 8 and _has_avx512():
            ours = f"{ours}:{_UP_TO_AVX2}"
        if spec.max_rate and spec.encoder in BUFFERED:
            ours = f"{ours}:vbv-init={BUFFER_AT_JOINS}"
        told = light.parameters(spec.encoder)
        options[name] = ":".join(filter(None, (options.get(name), ours, *told)))
    return options


def _is_there(name: str) -> bool:
    try:
        return Codec(name, "w").type == "video"
    except UnknownCodecError:
        return False


@cache
def _has_avx512() -> bool:
    return " avx512" in Path("/proc/cpuinfo").read_text()
