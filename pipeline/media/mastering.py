"""What HDR pictures tell of their light: the display that they were graded on (SMPTE ST 2086) and
how bright they become (CTA-861.3), as a decoder or a sample entry has it and as encoders are told
it."""

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame

from pipeline.media.entries import find_in_picture_entry

# AVMasteringDisplayMetadata: ten fractions, and which of them are meant. AVContentLightMetadata.
_DISPLAY, _LEVELS = struct.Struct("=20i2i"), struct.Struct("=2I")
# The boxes mdcv and clli (ISO/IEC 14496-12 12.1): the former in the units below, green first.
_DISPLAY_BOX, _LEVELS_BOX = struct.Struct(">8H2I"), struct.Struct(">2H")
# How ITU-T H.265 counts chromaticities and cd/m² (D.3.28), and how far.
_CHROMATICITY, _MOST_CHROMATICITY = 50_000, 50_000
_LUMINANCE, _MOST_LUMINANCE = 10_000, 2**32 - 1
_MOST_LEVEL = 2**16 - 1
# What encoders call the two.
_NAMES = {
    "libx264": ("mastering-display", "cll"),
    "libx265": ("master-display", "max-cll"),
    "libsvtav1": ("mastering-display", "content-light"),
}
_IN_UNITS = frozenset({"libx264", "libx265"})


@dataclass(frozen=True, slots=True)
class Light:
    """``display``: x and y of red, green, blue and white, in 1/50000, then its least and greatest
    luminance, in 1/10000 cd/m²; ``levels``: of the brightest pixel and the brightest picture, in
    cd/m². None for what a source does not tell, or tells in a way that cannot be."""

    display: tuple[int, ...] | None = None
    levels: tuple[int, int] | None = None

    @classmethod
    def of(cls, frame: VideoFrame) -> "Light":
        given: Any = frame.side_data
        told = {data.type: bytes(data) for data in given}
        return cls(
            display=_read_display(told.get(Type.MASTERING_DISPLAY_METADATA, b"")),
            levels=_read_levels(told.get(Type.CONTENT_LIGHT_LEVEL, b"")),
        )

    @classmethod
    def in_entry(cls, entry: bytes) -> "Light":
        """What a sample entry tells."""

        def read(kind: str, layout: struct.Struct) -> tuple[int, ...] | None:
            found = find_in_picture_entry(entry, kind)
            if found is None or found.end - found.body < layout.size:
                return None
            return layout.unpack_from(entry, found.body)

        display, levels = read("mdcv", _DISPLAY_BOX), read("clli", _LEVELS_BOX)
        if display is not None:
            green_blue, red, white, (greatest, least) = (
                display[slice(*ends)] for ends in ((0, 4), (4, 6), (6, 8), (8, 10))
            )
            display = _possible_display((*red, *green_blue, *white, least, greatest))
        return cls(display=display, levels=_possible_levels(levels) if levels else None)

    def or_that_of(self, other: "Light") -> "Light":
        """With what only ``other`` tells."""
        return Light(display=self.display or other.display, levels=self.levels or other.levels)

    def parameters(self, encoder: str) -> list[str]:
        """For the encoder's own list; none for an encoder that reads them from the pictures."""
        if encoder not in _NAMES:
            return []
        display, levels = _NAMES[encoder]
        words = []
        if self.display is not None:
            words.append(f"{display}={_display_words(self.display, encoder in _IN_UNITS)}")
        if self.levels is not None:
            words.append(f"{levels}={self.levels[0]},{self.levels[1]}")
        return words


def _read_display(data: bytes) -> tuple[int, ...] | None:
    if len(data) < _DISPLAY.size:
        return None
    *terms, has_chromaticities, has_luminances = _DISPLAY.unpack_from(data)
    if not (has_chromaticities and has_luminances and all(terms[1::2])):
        return None
    values = [Fraction(*term) for term in zip(terms[::2], terms[1::2], strict=True)]
    chromaticities = [round(value * _CHROMATICITY) for value in values[:8]]
    luminances = [round(value * _LUMINANCE) for value in values[8:]]
    return _possible_display((*chromaticities, *luminances))


def _possible_display(display: tuple[int, ...]) -> tuple[int, ...] | None:
    *chromaticities, least, greatest = display
    can_be = all(0 <= value <= _MOST_CHROMATICITY for value in chromaticities)
    return display if can_be and 0 <= least < greatest <= _MOST_LUMINANCE else None


def _read_levels(data: bytes) -> tuple[int, int] | None:
    return _possible_levels(_LEVELS.unpack_from(data)) if len(data) >= _LEVELS.size else None


def _possible_levels(levels: tuple[int, ...]) -> tuple[int, int] | None:
    pixel, picture = levels
    return (pixel, picture) if 0 < max(levels) <= _MOST_LEVEL else None


def _display_words(display: tuple[int, ...], in_units: bool) -> str:
    """The order of the encoders: green, blue, red, white, the greatest luminance, the least."""
    red, green, blue, white = (display[n : n + 2] for n in range(0, 8, 2))
    points = [("G", green), ("B", blue), ("R", red), ("WP", white)]
    least, greatest = display[8:]
    if in_units:
        words = [f"{name}({x},{y})" for name, (x, y) in points]
        return "".join([*words, f"L({greatest},{least})"])
    words = [f"{name}({x / _CHROMATICITY},{y / _CHROMATICITY})" for name, (x, y) in points]
    return "".join([*words, f"L({greatest / _LUMINANCE},{least / _LUMINANCE})"])
