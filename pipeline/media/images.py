"""Pictures from keyframes: decoding one, judging it, writing it as JPEG."""

import io
from fractions import Fraction

import av
import numpy as np
from av.video.frame import VideoFrame

from pipeline.errors import MediaInvalid

POSTER_WIDTH = 1280
_JPEG_QUALITY = 4  # FFmpeg's qscale: 2 best, 31 worst.


def decode_first_keyframe(init: bytes, fragments: bytes) -> VideoFrame:
    """The first picture that can be decoded. Raises ``MediaInvalid`` if none can."""
    try:
        with av.open(io.BytesIO(init + fragments), "r", format="mp4") as source:
            stream = source.streams.video[0]
            stream.codec_context.thread_count = 1
            stream.codec_context.skip_frame = "NONKEY"
            for frame in source.decode(stream):
                return frame
    except av.error.FFmpegError as error:
        raise MediaInvalid(f"keyframe cannot be decoded: {error.strerror}") from error
    raise MediaInvalid("no keyframe in it")


def poster_score(frame: VideoFrame) -> float:
    """How much there is to see: detail, unless the picture is nearly black or white."""
    luma = np.asarray(frame.reformat(width=320, height=180, format="gray").to_ndarray(), np.float32)
    detail = float(np.abs(np.diff(luma, axis=1)).mean() + np.abs(np.diff(luma, axis=0)).mean())
    return detail if 20.0 < float(luma.mean()) < 235.0 else detail / 100.0


def encode_jpeg(frame: VideoFrame) -> bytes:
    """At most ``POSTER_WIDTH`` wide, in the picture's display shape."""
    aspect = frame.sample_aspect_ratio if hasattr(frame, "sample_aspect_ratio") else None
    shown_width = round(frame.width * float(aspect)) if aspect else frame.width
    scale = min(1.0, POSTER_WIDTH / shown_width)
    width, height = _even(shown_width * scale), _even(frame.height * scale)
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuvj420p"
    encoder.time_base = Fraction(1, 25)
    encoder.options = {"qmin": str(_JPEG_QUALITY), "qmax": str(_JPEG_QUALITY)}
    picture = frame.reformat(width=width, height=height, format="yuvj420p")
    picture.pts = 0
    packets = [*encoder.encode(picture), *encoder.encode(None)]
    data = b"".join(bytes(packet) for packet in packets)
    if not data:
        raise MediaInvalid("the JPEG encoder gave nothing")
    return data


def _even(value: float) -> int:
    return max(2, round(value / 2) * 2)
