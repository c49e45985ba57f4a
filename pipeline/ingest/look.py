"""What a publisher sends, by its first seconds: a script that reads FLV or MPEG-TS from stdin and
prints one line of JSON as soon as it knows.

``look.py FORM MAX_PIXELS``. A process of its own: what comes is hostile, and FFmpeg's demuxers are
C. ``keyframe_s``: the longest distance of keyframes in the first seconds, null if there was one.
"""

import json
import sys
from itertools import pairwise
from typing import IO, Any

import av
from av.container import InputContainer

MAX_STREAMS = 8
LOOK_S = 9.0
"""Seconds of media without a second keyframe after which there are none that could be used."""
_ENOUGH_KEYFRAMES = 2


def look(file: IO[bytes], form: str, max_pixels: int) -> dict[str, Any]:
    """Raises FFmpeg's errors, and ``ValueError`` for what is refused."""
    options = {
        "probesize": str(2**20),
        "analyzeduration": "1500000",
        "max_streams": str(MAX_STREAMS),
    }
    with av.open(file, format=form, options=options, buffer_size=4096) as container:
        assert isinstance(container, InputContainer)
        video = next(iter(container.streams.video), None)
        sound = next(iter(container.streams.audio), None)
        if video is None and sound is None:
            raise ValueError("neither pictures nor sound")
        if video is not None and video.width * video.height > max_pixels:
            raise ValueError(f"pictures of {video.width} x {video.height}")
        return {
            "video": video and video.codec_context.name,
            "audio": sound and sound.codec_context.name,
            "pixel_format": video and video.pix_fmt,
            "width": video and video.width,
            "height": video and video.height,
            "keyframe_s": _keyframe_s(container, video) if video is not None else None,
        }


def _keyframe_s(container: InputContainer, video: Any) -> float | None:
    times: list[float] = []
    first: float | None = None
    for packet in container.demux(video):
        if packet.pts is None:
            continue
        at = float(packet.pts * packet.time_base)
        first = at if first is None else first
        if packet.is_keyframe:
            times.append(at)
        if len(times) >= _ENOUGH_KEYFRAMES or at - first > LOOK_S:
            break
    return max((after - before for before, after in pairwise(times)), default=None)


def _main(form: str, max_pixels: str) -> None:
    try:
        found = look(sys.stdin.buffer, form, int(max_pixels))
    except (av.FFmpegError, ValueError) as error:
        found = {"problem": str(error)}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
