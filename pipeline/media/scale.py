"""Decoded pictures in the sizes of several outputs: fitted inside with black around them, in square
pixels and limited range; what is HDR becomes standard where 8 bits are asked for. Each smaller one
is made of the next larger one."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange

from pipeline.media.decode_pictures import Picture
from pipeline.media.filters import Filters, PictureFilter, Shape
from pipeline.media.images import make_scalable
from pipeline.media.mastering import Light
from pipeline.media.tone_map import HDR, table
from pipeline.model import EncodedPictures
from pipeline.stages import stage

# As ITU-T H.273 numbers colours (tables 2 to 4): what all encoders take, and 2 for anything else.
_PRIMARIES, _TRANSFERS, _MATRICES = range(1, 13), range(1, 19), range(1, 15)
_UNSPECIFIED, _MATRIX_RGB, _MATRIX_BT709 = 2, 0, 1
# Rounded alike on any CPU.
_FLAGS = "lanczos+accurate_rnd+bitexact"
_Size = tuple[int, int]
_STANDARD_PIXELS = frozenset({"yuv420p"})
_UNTOLD = Light()


@dataclass(frozen=True, slots=True)
class Colours:
    """Of pictures. ``is_told``: whether they tell their range; ``light``: of HDR."""

    primaries: int
    transfer: int
    matrix: int
    is_told: bool
    light: Light = _UNTOLD

    @classmethod
    def of(cls, picture: Picture) -> "Colours":
        frame = picture.frame
        matrix = _MATRIX_BT709 if frame.colorspace == _MATRIX_RGB else frame.colorspace
        return cls(
            primaries=_known(frame.color_primaries, _PRIMARIES),
            transfer=_known(frame.color_trc, _TRANSFERS),
            matrix=_known(matrix, _MATRICES),
            is_told=frame.color_range != ColorRange.UNSPECIFIED,
            light=Light.of(frame).or_that_of(picture.light) if frame.color_trc in HDR else _UNTOLD,
        )


_STANDARD = Colours(primaries=1, transfer=1, matrix=_MATRIX_BT709, is_told=True)


def _known(value: int, known: range) -> int:
    return value if value in known else _UNSPECIFIED


class Ladder:
    """``outputs``: all that are made of each picture."""

    def __init__(self, outputs: Sequence[EncodedPictures]) -> None:
        self._outputs = outputs
        self._made_for: tuple[Shape, Fraction] | None = None
        self._rungs: list[_Rung] = []

    def of(self, picture: Picture) -> "Scaled":
        frame = picture.frame
        colours = Colours.of(picture)
        make_scalable(frame)
        made_for = Shape.of(frame), picture.aspect
        if made_for != self._made_for:
            self._made_for, self._rungs = made_for, _rungs(*made_for, self._outputs)
        return Scaled(picture, colours, self._rungs)


class Scaled:
    """A picture in all sizes, each of them made when it is asked for the first time."""

    def __init__(self, picture: Picture, colours: Colours, rungs: "Sequence[_Rung]") -> None:
        self.picture = picture
        self._colours, self._rungs = colours, rungs
        self._contents: dict[int, VideoFrame] = {}
        self._framed: dict[int, VideoFrame] = {}

    def colours(self, output: int) -> Colours:
        return _STANDARD if self._rungs[output].is_mapped else self._colours

    def frame(self, output: int) -> VideoFrame:
        """As the output of that number has it. Raises ``MediaInvalid``."""
        if output not in self._framed:
            with stage("scale"):
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
    the picture inside the black; ``is_mapped``: from HDR to standard."""

    larger: int | None
    size: _Size
    is_mapped: bool
    content: PictureFilter
    around: PictureFilter


def _rungs(shape: Shape, aspect: Fraction, outputs: Sequence[EncodedPictures]) -> list[_Rung]:
    shown = shape.width * aspect, Fraction(shape.height)
    sizes = [fit(shown, (spec.width, spec.height)) for spec in outputs]
    rungs: dict[int, _Rung] = {}
    for n in sorted(range(len(outputs)), key=lambda n: -sizes[n][0] * sizes[n][1]):
        larger = _larger(n, list(rungs), sizes, outputs, shape)
        if larger is None:
            size, pixels, is_full = (shape.width, shape.height), shape.pixels, _is_full(shape)
        else:
            size, pixels, is_full = sizes[larger], outputs[larger].pixel_format, False
        made = sizes[n], outputs[n].pixel_format
        is_mapped = shape.transfer in HDR and outputs[n].pixel_format in _STANDARD_PIXELS
        filters: Filters = []
        if is_mapped and larger is None:
            filters = _map_tones(sizes[n], shape) + _pixels(outputs[n])
        elif (size, pixels) != made or is_full:
            filters = _scale(sizes[n], shape, is_full=is_full) + _pixels(outputs[n])
        around = PictureFilter(_black(sizes[n], outputs[n]))
        rungs[n] = _Rung(larger, sizes[n], is_mapped, PictureFilter(filters), around)
    return [rungs[n] for n in range(len(outputs))]


def _larger(
    output: int,
    made: Sequence[int],
    sizes: Sequence[_Size],
    outputs: Sequence[EncodedPictures],
    shape: Shape,
) -> int | None:
    """The smallest that is made and has all that the output needs: not one that was enlarged."""
    width, height = sizes[output]
    usable = [
        n
        for n in made
        if sizes[n][0] >= width
        and sizes[n][1] >= height
        and sizes[n][0] <= shape.width
        and sizes[n][1] <= shape.height
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


def _is_full(shape: Shape) -> bool:
    return shape.range == ColorRange.JPEG or shape.pixels.startswith("yuvj")


def _scale(size: _Size, shape: Shape, *, is_full: bool) -> Filters:
    options = f"w={size[0]}:h={size[1]}:flags={_FLAGS}"
    if is_full:
        options += ":out_range=tv"
    if shape.matrix == _MATRIX_RGB:
        options += ":out_color_matrix=bt709"
    return [("scale", options)]


def _map_tones(size: _Size, shape: Shape) -> Filters:
    options = f"w={size[0]}:h={size[1]}:flags={_FLAGS}"
    if shape.matrix == _UNSPECIFIED:
        options += ":in_color_matrix=bt2020"
    return [
        ("scale", options),
        ("format", "pix_fmts=gbrp12le"),
        ("lut3d", table(shape.transfer)),
        ("setparams", "color_primaries=bt709:color_trc=bt709"),
        ("scale", f"out_color_matrix=bt709:out_range=tv:flags={_FLAGS}"),
    ]


def _pixels(spec: EncodedPictures) -> Filters:
    return [("format", f"pix_fmts={spec.pixel_format}")]


def _black(size: _Size, spec: EncodedPictures) -> Filters:
    if size == (spec.width, spec.height):
        return []
    # Negative: in the middle.
    return [("pad", f"w={spec.width}:h={spec.height}:x=-1:y=-1"), *_pixels(spec)]
