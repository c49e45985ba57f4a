"""What a supervisor asks of a worker, and the answers: plain frozen values that travel.

Workers hold no keys: every address in a job is a presigned URL (or a ``file:`` one that was
checked). One type per kind of work.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.media.limits import DEFAULT_LIMITS, MediaLimits
from pipeline.model import (
    ByteRange,
    ChunkRecord,
    ChunkSpec,
    FirstLook,
    Form,
    Output,
    Part,
    Segment,
    TileSize,
)
from pipeline.transfer import TransferLimits

if TYPE_CHECKING:
    # It brings numpy, and supervisors have to be up soon.
    from pipeline.media.holes import Blank


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where bytes are: a URL and, if not all of it, a range."""

    url: str
    byte_range: ByteRange | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LookJob:
    """Look at the first segment that can be read. Answer: ``FirstLook``.

    ``urls``: by reference, of everything that is needed to read it.
    """

    segment: Segment
    urls: Mapping[str, str]
    limits: TransferLimits
    media_limits: MediaLimits = DEFAULT_LIMITS


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where what an output holds of a chunk goes. ``part_url`` is None if it must wait in
    ``staging_url`` whatever its size."""

    output: Output
    staging_key: str
    staging_url: str
    part_number: int = 0
    part_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkJob:
    """Make a chunk's fragments and put them where they belong. Answer: a ``ChunkRecord`` for each
    of ``places``.

    ``urls``: by reference, of everything that the chunk names. ``strip_url``: for its tiles;
    ``fills_gaps``: see ``pipeline.filling``.
    """

    chunk: ChunkSpec
    urls: Mapping[str, str]
    places: tuple[Place, ...]
    strip_url: str
    source_limits: TransferLimits
    store_limits: TransferLimits
    media_limits: MediaLimits
    fills_gaps: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FillJob:
    """Make black and silence for holes between chunks, as a chunk that is staged. Answer: a
    ``ChunkRecord`` for each of ``places``; the first one's report's ``filled`` numbers the blanks
    that could be made, one piece each. ``form``: of the main playlist.
    """

    index: int
    blanks: "tuple[Blank, ...]"
    places: tuple[Place, ...]
    limits: TransferLimits
    form: Form


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinJob:
    """Make one part of a head, staged chunks and padding. Answer: ``Part``."""

    number: int
    head: bytes
    staged: tuple[Address, ...]
    padding: int
    part_url: str
    limits: TransferLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class PosterJob:
    """Make a JPEG of the first picture in fragments and put it up. Answer: its size in bytes."""

    init: bytes
    fragment: Address
    image_url: str
    limits: TransferLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class StripTiles:
    """Tiles of the strip at ``url``. ``places``: on the sheet, counted by rows, with the bytes of
    each in the strip."""

    url: str
    places: tuple[tuple[int, ByteRange], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetJob:
    """Make a sheet of a storyboard and put it up. Answer: its size in bytes. ``size``: of a tile;
    ``columns`` x ``rows`` tiles have room."""

    strips: tuple[StripTiles, ...]
    columns: int
    rows: int
    size: TileSize
    sheet_url: str
    limits: TransferLimits


Job = LookJob | ChunkJob | FillJob | JoinJob | PosterJob | SheetJob
Answer = FirstLook | tuple[ChunkRecord, ...] | Part | int
