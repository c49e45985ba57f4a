"""Pictures as small JPEGs that all have one size, and many of these as one sheet."""

from collections.abc import Iterable
from fractions import Fraction

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from pipeline.errors import MediaInvalid
from pipeline.media.images import Picture, scale_for_jpeg, write_jpeg
from pipeline.media.scale import fit
from pipeline.model import TileSize

# FFmpeg's qscale. A tile is encoded twice, and the first time should not be seen.
_TILE_QUALITY, _SHEET_QUALITY = 2, 4


def draw_tile(picture: Picture, size: TileSize) -> bytes:
    """As a JPEG, with black around it where its shape is another. Raises ``MediaInvalid``."""
    frame, box = picture.frame, (size.width, size.height)
    width, height = fit((frame.width * picture.aspect, Fraction(frame.height)), box)
    small = scale_for_jpeg(frame, width, height)
    canvas = _Canvas(size)
    # Colours have half as many lines and columns.
    canvas.paste(small, (size.width - width) // 4 * 2, (size.height - height) // 4 * 2)
    return canvas.jpeg(_TILE_QUALITY)


def draw_sheet(
    tiles: Iterable[tuple[int, int, bytes]], columns: int, rows: int, size: TileSize
) -> bytes:
    """``tiles``: ``(column, row, JPEG)``. Raises ``MediaInvalid`` for one that is damaged."""
    canvas = _Canvas(TileSize(width=columns * size.width, height=rows * size.height))
    for column, row, jpeg in tiles:
        canvas.paste(_read_tile(jpeg, size), column * size.width, row * size.height)
    return canvas.jpeg(_SHEET_QUALITY)


def _read_tile(jpeg: bytes, size: TileSize) -> VideoFrame:
    decoder = VideoCodecContext.create("mjpeg", "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.thread_count = 1
    try:
        (frame,) = [*decoder.decode(av.Packet(jpeg)), *decoder.decode(None)]
    except (av.error.FFmpegError, ValueError) as error:
        raise MediaInvalid(f"a tile cannot be read: {error}") from error
    if (frame.width, frame.height, frame.format.name) != (size.width, size.height, "yuvj420p"):
        raise MediaInvalid("a tile is not what was drawn")
    return frame


class _Canvas:
    """Black, with even sides."""

    def __init__(self, size: TileSize) -> None:
        self._width, self._height = size.width, size.height
        half = size.height // 2, size.width // 2
        self._planes = [
            np.zeros((size.height, size.width), np.uint8),
            *(np.full(half, 128, np.uint8) for _ in range(2)),
        ]

    def paste(self, picture: VideoFrame, left: int, top: int) -> None:
        """``picture``: yuvj420p; everything even."""
        flat = picture.to_ndarray().ravel()
        at = 0
        for plane, share in zip(self._planes, (1, 2, 2), strict=True):
            width, height = picture.width // share, picture.height // share
            own = flat[at : at + width * height].reshape(height, width)
            x, y = left // share, top // share
            plane[y : y + height, x : x + width] = own
            at += width * height

    def jpeg(self, quality: int) -> bytes:
        flat = np.concatenate([plane.ravel() for plane in self._planes])
        shape = self._height * 3 // 2, self._width
        frame = VideoFrame.from_ndarray(flat.reshape(shape), format="yuvj420p")
        return write_jpeg(frame, quality)
