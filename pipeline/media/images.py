"""Pictures from keyframes: decoding one, judging it, writing it as JPEG."""

import io
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from pipeline.errors import MediaInvalid
from pipeline.media import boxes
from pipeline.media.entries import find_in_picture_entry, pixel_aspect
from pipeline.media.limits import DEFAULT_LIMITS, MediaLimits

POSTER_WIDTH = 1280
_JPEG_QUALITY = 4
# By their numbers in ITU-T H.273, table 4: of others, FFmpeg's scaler does not even change the
# size.
_SCALED_MATRICES, _UNSPECIFIED = frozenset({0, 1, 2, 4, 5, 6, 7, 9}), 2
# Rounded alike on any CPU.
_SCALING = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
# Decoder and configuration box by sample entry.
_DECODERS = {
    b"avc1": ("h264", "avcC"),
    b"avc3": ("h264", "avcC"),
    b"hvc1": ("hevc", "hvcC"),
    b"hev1": ("hevc", "hvcC"),
    b"av01": ("libdav1d", "av1C"),
    b"vp09": ("vp9", "vpcC"),
}
# The init says all that a decoder needs; FFmpeg would decode the picture twice to be sure. For as
# many streams as there may be. (PyAV's stubs ask for strings, PyAV itself for mappings.)
_NO_PROBING: Any = [{"skip_frame": "all"}] * 64


@dataclass(frozen=True, slots=True)
class Picture:
    """``aspect``: of a pixel."""

    frame: VideoFrame
    aspect: Fraction


def decode_first_keyframe(init: bytes, fragments: bytes) -> Picture:
    """The first picture that can be decoded. Raises ``MediaInvalid`` if none can."""
    try:
        with av.open(
            io.BytesIO(init + fragments), "r", format="mp4", stream_options=_NO_PROBING
        ) as source:
            stream = source.streams.video[0]
            stream.codec_context.thread_count = 1
            stream.codec_context.skip_frame = "NONKEY"
            for frame in source.decode(stream):
                aspect = stream.codec_context.sample_aspect_ratio or stream.sample_aspect_ratio
                return Picture(frame, aspect or Fraction(1))
    except av.error.FFmpegError as error:
        raise MediaInvalid(f"keyframe cannot be decoded: {error.strerror}") from error
    raise MediaInvalid("no keyframe in it")


def decode_keyframe(entry: bytes, sample: bytes, limits: MediaLimits = DEFAULT_LIMITS) -> Picture:
    """The picture of one sample as its sample entry (ISO/IEC 14496-12 8.5.2) says to decode it.

    Raises ``MediaInvalid`` for the smallest damage, and for a codec that is not known here.
    """
    decoder = open_decoder(entry, limits, err_detect="explode")
    try:
        packet = av.Packet(sample)
        for frame in [*decoder.decode(packet), *decoder.decode(None)]:
            if not frame.is_corrupt:
                return Picture(frame, decoder.sample_aspect_ratio or pixel_aspect(entry))
    except av.error.FFmpegError as error:
        raise MediaInvalid(f"keyframe cannot be decoded: {error.strerror}") from error
    raise MediaInvalid("keyframe gives no whole picture")


def open_decoder(entry: bytes, limits: MediaLimits, **options: str) -> VideoCodecContext:
    """A decoder with one thread for the samples of a sample entry. ``options``: FFmpeg's.

    Raises ``MediaInvalid`` for a codec that is not known here, and for an entry that is damaged.
    """
    box = boxes.read_header(entry, 0, len(entry))
    try:
        codec, config = _DECODERS[box.kind]
    except KeyError:
        raise MediaInvalid(f"sample entry {box.kind!r} is not known") from None
    found = find_in_picture_entry(entry, config)
    decoder = VideoCodecContext.create(codec, "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.extradata = entry[found.body : found.end] if found else None
    decoder.thread_count = 1
    decoder.options = {"max_pixels": str(limits.max_pixels), **options}
    try:
        decoder.open()
    except av.error.FFmpegError as error:
        raise MediaInvalid(f"its sample entry cannot be read: {error.strerror}") from error
    return decoder


def poster_score(frame: VideoFrame) -> float:
    """How much there is to see: detail, unless the picture is nearly black or white."""
    luma = np.asarray(frame.reformat(width=320, height=180, format="gray").to_ndarray(), np.float32)
    detail = float(np.abs(np.diff(luma, axis=1)).mean() + np.abs(np.diff(luma, axis=0)).mean())
    return detail if 20.0 < float(luma.mean()) < 235.0 else detail / 100.0


def encode_jpeg(picture: Picture) -> bytes:
    """At most ``POSTER_WIDTH`` wide, in the picture's display shape."""
    frame = picture.frame
    shown_width = max(1, round(frame.width * picture.aspect))
    scale = min(1.0, POSTER_WIDTH / shown_width)
    width, height = _even(shown_width * scale), _even(frame.height * scale)
    return write_jpeg(scale_for_jpeg(frame, width, height), _JPEG_QUALITY)


def scale_for_jpeg(frame: VideoFrame, width: int, height: int) -> VideoFrame:
    """yuvj420p as readers of JPEG understand it (ITU-T T.871). Raises ``MediaInvalid``."""
    make_scalable(frame)
    try:
        return frame.reformat(
            width,
            height,
            "yuvj420p",
            dst_colorspace=Colorspace.ITU601,
            dst_color_range=ColorRange.JPEG,
            interpolation=_SCALING,
            threads=1,
        )
    except (av.error.FFmpegError, ValueError) as error:
        raise MediaInvalid(f"its pictures cannot be scaled: {error}") from error


def make_scalable(frame: VideoFrame) -> None:
    """Forget a matrix that FFmpeg's scaler does not know."""
    if frame.colorspace not in _SCALED_MATRICES:
        frame.colorspace = _UNSPECIFIED


def write_jpeg(picture: VideoFrame, quality: int) -> bytes:
    """``picture``: yuvj420p; ``quality``: FFmpeg's qscale, 2 best, 31 worst."""
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = picture.width, picture.height, "yuvj420p"
    encoder.time_base = Fraction(1, 25)
    encoder.options = {"qmin": str(quality), "qmax": str(quality)}
    picture.pts = 0
    packets = [*encoder.encode(picture), *encoder.encode(None)]
    data = b"".join(bytes(packet) for packet in packets)
    if not data:
        raise MediaInvalid("the JPEG encoder gave nothing")
    return data


def _even(value: float) -> int:
    return max(2, round(value / 2) * 2)
