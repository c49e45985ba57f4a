"""What a source's media may ask of us. Travels with every job: workers know no settings."""

from dataclasses import dataclass

from pipeline.errors import MediaInvalid

MAX_PICTURE_PIXELS = 8192 * 8192
MAX_PACKETS = 2**21


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaLimits:
    """Above it, media is refused. ``max_packets``: of segments that are read together, all their
    streams."""

    max_pixels: int = MAX_PICTURE_PIXELS
    max_packets: int = MAX_PACKETS

    def refuse_picture(self, width: int, height: int) -> None:
        if width * height > self.max_pixels:
            raise MediaInvalid(
                f"its pictures are {width} x {height}, more than the {self.max_pixels} pixels of "
                "MAX_PICTURE_PIXELS"
            )

    def refuse_packets(self, count: int) -> None:
        if count > self.max_packets:
            raise MediaInvalid(f"more than the {self.max_packets} packets of MAX_PACKETS")


DEFAULT_LIMITS = MediaLimits()
