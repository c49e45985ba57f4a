"""FFmpeg's filters over decoded pictures: one thread each, since workers share their cores."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import NamedTemporaryFile

import av
from av.filter import Graph
from av.filter.context import FilterContext
from av.video.frame import VideoFrame

from pipeline.errors import MediaInvalid


@dataclass(frozen=True, slots=True)
class Cube:
    """A table of colours as the text of a ``.cube`` file: the options of ``lut3d``."""

    text: str


# Each with its options.
Filters = list[tuple[str, str | Cube]]


@dataclass(frozen=True, slots=True)
class Shape:
    """What a graph of filters is made for: numbers as in ITU-T H.273, ``range`` as FFmpeg's."""

    width: int
    height: int
    pixels: str
    transfer: int
    matrix: int
    range: int

    @classmethod
    def of(cls, frame: VideoFrame) -> "Shape":
        size = frame.width, frame.height
        return cls(*size, frame.format.name, frame.color_trc, frame.colorspace, frame.color_range)


class PictureFilter:
    """Some filters in a row that give one picture for each: made anew where the shape of what comes
    in changes, nothing done if there are none."""

    def __init__(self, filters: Filters) -> None:
        self._filters = filters
        self._shape: Shape | None = None
        self._graph = Graph()

    def __call__(self, frame: VideoFrame) -> VideoFrame:
        if not self._filters:
            return frame
        shape = Shape.of(frame)
        with filtering():
            if shape != self._shape:
                self._shape, self._graph = shape, graph(shape, self._filters)
            self._graph.push(frame)
            made = self._graph.pull()
        assert isinstance(made, VideoFrame)
        return made


@contextmanager
def filtering() -> Iterator[None]:
    """What filters refuse is ``MediaInvalid``."""
    try:
        yield
    except av.error.FFmpegError as error:
        raise MediaInvalid(f"its pictures cannot be filtered: {error.strerror}") from error


def graph(shape: Shape, filters: Filters) -> Graph:
    """Raises ``FFmpegError``."""
    made = Graph()
    made.threads = 1
    source = (
        f"video_size={shape.width}x{shape.height}:pix_fmt={shape.pixels}:time_base=1/1:"
        f"pixel_aspect=1/1:colorspace={shape.matrix}:range={shape.range}"
    )
    row: Filters = [("buffer", source), *filters, ("buffersink", "")]
    made.link_nodes(*(_add(made, name, options) for name, options in row)).configure()
    return made


def _add(made: Graph, name: str, options: str | Cube) -> FilterContext:
    if isinstance(options, str):
        return made.add(name, options or None)
    # It is read at once.
    with NamedTemporaryFile("w", prefix="vodray-", suffix=".cube") as file:
        file.write(options.text)
        file.flush()
        return made.add(name, None, file=file.name)
