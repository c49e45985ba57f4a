"""Decoded pictures in the sizes of several outputs: fitted inside with black around them, in square
pixels and limited range. Each smaller one is made of the next larger one."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange

from pipeline.errors import MediaInvalid
from pipeline.media.decode_pictures import Picture
from pipeline.media.images import make_scalable
from pipeline.model import EncodedPictures

# As ITU-T H.273 numbers colours (tables 2 to 4): what all encoders take, and 2 for anything else.
_PRIMARIES, _TRANSFERS, _MATRICES = range(1, 13), range(1, 19), range(1, 15)
_UNSPECIFIED, _MATRIX_RGB, _MATRIX_BT709 = 2, 0, 1
# Rounded alike on any CPU.
_FLAGS = "lanczos+accurate_rnd+bitexact"
_Filters = list[tuple[str, str]]
_Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Form:
    """What a filter graph is made for."""

    width: int
    height: int
    pixels: str
    matrix: int
    range: int
    aspect: Fraction

    @classmethod
    def of(cls, frame: VideoFrame, aspect: Fraction) -> "_Form":
        own = frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range
        return cls(*own, aspect)


@dataclass(frozen=True, slots=True)
class Colours:
    """Of the pictures that are made of a source's. ``is_told``: whether it tells its range."""

    primaries: int
    transfer: int
    matrix: int
    is_told: bool

    @classmethod
    def of(cls, frame: VideoFrame) -> "Colours":
        matrix = _MATRIX_BT709 if frame.colorspace == _MATRIX_RGB else frame.colorspace
        return cls(
            primaries=_known(frame.color_primaries, _PRIMARIES),
            transfer=_known(frame.color_trc, _TRANSFERS),
            matrix=_known(matrix, _MATRICES),
            is_told=frame.color_range != ColorRange.UNSPECIFIED,
        )


def _known(value: int, known: range) -> int:
    return value if value in known else _UNSPECIFIED


class Ladder:
    """``outputs``: all that are made of each picture."""

    def __init__(self, outputs: Sequence[EncodedPictures]) -> None:
        self._outputs = outputs
        self._form: _Form | None = None
        self._rungs: list[_Rung] = []

    def of(self, picture: Picture) -> "Scaled":
        frame = picture.frame
        colours = Colours.of(frame)
        make_scalable(frame)
        form = _Form.of(frame, picture.aspect)
        if form != self._form:
            self._form, self._rungs = form, _rungs(form, self._outputs)
        return Scaled(picture, colours, self._rungs)


class Scaled:
    """A picture in all sizes, each of them made when it is asked for the first time."""

    def __init__(self, picture: Picture, colours: Colours, rungs: "Sequence[_Rung]") -> None:
        self.picture, self.colours = picture, colours
        self._rungs = rungs
        self._contents: dict[int, VideoFrame] = {}
        self._framed: dict[int, VideoFrame] = {}

    def frame(self, output: int) -> VideoFrame:
        """As the output of that number has it. Raises ``MediaInvalid``."""
        if output not in self._framed:
            self._framed[output] = self._rungs[output].around(self._content(output))
        return self._framed[output]

    def _content(self, output: int) -> VideoFrame:
        if output not in self._contents:
            rung = self._rungs[output]
            larger = self.picture.frame if rung.larger is None else self._content(rung.larger)
            self._contents[output] = rung.content(larger)
        return self._contents[output]


@dataclass(frozen=True, slots=True)
class _Rung:
    """``larger``: the number of the output that it is made of, None: of the source; ``size``: of
    the picture inside the black."""

    larger: int | None
    size: _Size
    content: "_Filter"
    around: "_Filter"


def _rungs(form: _Form, outputs: Sequence[EncodedPictures]) -> "list[_Rung]":
    shown = form.width * form.aspect, Fraction(form.height)
    sizes = [fit(shown, (spec.width, spec.height)) for spec in outputs]
    rungs: dict[int, _Rung] = {}
    for n in sorted(range(len(outputs)), key=lambda n: -sizes[n][0] * sizes[n][1]):
        larger = _larger(n, list(rungs), sizes, outputs, form)
        if larger is None:
            size, pixels, is_full = (form.width, form.height), form.pixels, _is_full(form)
        else:
            size, pixels, is_full = sizes[larger], outputs[larger].pixel_format, False
        made = sizes[n], outputs[n].pixel_format
        filters: _Filters = []
        if (size, pixels) != made or is_full:
            filters = _scale(sizes[n], form, is_full=is_full) + _pixels(outputs[n])
        rungs[n] = _Rung(larger, sizes[n], _Filter(filters), _Filter(_black(sizes[n], outputs[n])))
    return [rungs[n] for n in range(len(outputs))]


def _larger(
    output: int,
    made: Sequence[int],
    sizes: Sequence[_Size],
    outputs: Sequence[EncodedPictures],
    form: _Form,
) -> int | None:
    """The smallest that is made and has all that the output needs: not one that was enlarged."""
    width, height = sizes[output]
    usable = [
        n
        for n in made
        if sizes[n][0] >= width
        and sizes[n][1] >= height
        and sizes[n][0] <= form.width
        and sizes[n][1] <= form.height
        and outputs[n].pixel_format == outputs[output].pixel_format
    ]
    return usable[-1] if usable else None


def fit(shown: tuple[Fraction, Fraction], box: _Size) -> _Size:
    """As large as can be inside, in its own shape, with even sides."""
    factor = min(Fraction(box[0]) / shown[0], Fraction(box[1]) / shown[1])
    width, height = (
        min(outer, max(2, round(side * factor / 2) * 2))
        for side, outer in zip(shown, box, strict=True)
    )
    return width, height


def _is_full(form: _Form) -> bool:
    return form.range == ColorRange.JPEG or form.pixels.startswith("yuvj")


def _scale(size: _Size, form: _Form, *, is_full: bool) -> _Filters:
    options = f"w={size[0]}:h={size[1]}:flags={_FLAGS}"
    if is_full:
        options += ":out_range=tv"
    if form.matrix == _MATRIX_RGB:
        options += ":out_color_matrix=bt709"
    return [("scale", options)]


def _pixels(spec: EncodedPictures) -> _Filters:
    return [("format", f"pix_fmts={spec.pixel_format}")]


def _black(size: _Size, spec: EncodedPictures) -> _Filters:
    if size == (spec.width, spec.height):
        return []
    # Negative: in the middle.
    return [("pad", f"w={spec.width}:h={spec.height}:x=-1:y=-1"), *_pixels(spec)]


class _Filter:
    """Some of FFmpeg's filters in a row that give one picture for each: made anew where the form of
    what comes in changes, nothing done if there are none."""

    def __init__(self, filters: _Filters) -> None:
        self._filters = filters
        self._form: _Form | None = None
        self._graph = Graph()

    def __call__(self, frame: VideoFrame) -> VideoFrame:
        if not self._filters:
            return frame
        form = _Form.of(frame, Fraction(1))
        try:
            if form != self._form:
                self._form, self._graph = form, _graph(form, self._filters)
            self._graph.push(frame)
            made = self._graph.pull()
        except av.error.FFmpegError as error:
            raise MediaInvalid(f"its pictures cannot be scaled: {error.strerror}") from error
        assert isinstance(made, VideoFrame)
        return made


def _graph(form: _Form, filters: _Filters) -> Graph:
    graph = Graph()
    graph.threads = 1
    source = (
        f"video_size={form.width}x{form.height}:pix_fmt={form.pixels}:time_base=1/1:"
        f"pixel_aspect=1/1:colorspace={form.matrix}:range={form.range}"
    )
    row = [("buffer", source), *filters, ("buffersink", None)]
    graph.link_nodes(*(graph.add(name, options) for name, options in row)).configure()
    return graph
