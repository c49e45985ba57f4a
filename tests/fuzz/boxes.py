"""Damage to ISO base media files (ISO/IEC 14496-12) that knows where boxes and their fields are."""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

from tests.fuzz.raw import Damage

_CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"mvex", b"moof", b"traf", b"edts"}
_CONTAINERS |= {b"dinf", b"udta"}
_TIMED = {b"tfhd", b"tfdt", b"trun", b"mdhd", b"mvhd", b"tkhd", b"sidx", b"elst", b"trex", b"mehd"}
_TIMED |= {b"stsd", b"stts", b"ctts", b"stsc", b"stsz", b"stco", b"hdlr", b"mfhd"}
_MAX_DEPTH = 20  # boxes that were nested in vain before
_WORDS = (0, 1, 2, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


@dataclass(slots=True)
class _Box:
    """``size`` None: what the box really has, else what it claims."""

    kind: bytes
    body: bytes = b""
    children: "list[_Box]" = field(default_factory=list)
    size: int | None = None

    def pack(self) -> bytes:
        body = self.body + b"".join(child.pack() for child in self.children)
        size = len(body) + 8 if self.size is None else self.size
        return struct.pack(">I4s", size & 0xFFFFFFFF, self.kind) + body

    def all(self) -> "Iterator[_Box]":
        yield self
        for child in self.children:
            yield from child.all()


def is_boxed(data: bytes) -> bool:
    return data[4:8] in (b"ftyp", b"styp", b"moov", b"moof", b"sidx")


def change_size(boxes: list[_Box], random: Random) -> None:
    box = _any(boxes, random)
    real = len(box.pack())
    sizes = (0, 1, 4, 7, 8, 9, real - 1, real + 1, real - 8, real + 8, 2 * real)
    box.size = random.choice((*sizes, 0x7FFFFFFF, 0xFFFFFFFF))


def change_kind(boxes: list[_Box], random: Random) -> None:
    box = _any(boxes, random)
    kinds = [other.kind for top in boxes for other in top.all()]
    box.kind = random.choice((*kinds, b"free", b"uuid", b"\0\0\0\0", random.randbytes(4)))


def drop(boxes: list[_Box], random: Random) -> None:
    family = _family(boxes, random)
    del family[random.randrange(len(family))]


def double(boxes: list[_Box], random: Random) -> None:
    family = _family(boxes, random)
    box = random.choice(family)
    for _ in range(random.choice((1, 1, 50))):
        family.insert(random.randrange(len(family) + 1), box)


def swap(boxes: list[_Box], random: Random) -> None:
    random.shuffle(_family(boxes, random))


def nest(boxes: list[_Box], random: Random) -> None:
    """A box inside copies of itself, or inside another."""
    family = _family(boxes, random)
    at = random.randrange(len(family))
    for _ in range(random.choice((1, 3, 200, 3000))):
        kind = family[at].kind if random.random() < 0.9 else b"moov"
        family[at] = _Box(kind, family[at].pack())


def change_head(boxes: list[_Box], random: Random) -> None:
    """Version and flags of a full box."""
    box = _timed(boxes, random)
    if len(box.body) >= 4:
        head = bytearray(box.body[:4])
        if random.random() < 0.5:
            head[0] = random.choice((0, 1, 2, 255))
        else:
            head[random.randrange(1, 4)] ^= 1 << random.randrange(8)
        box.body = bytes(head) + box.body[4:]


def change_words(boxes: list[_Box], random: Random) -> None:
    """Counts, times, sizes, offsets: some 32-bit fields at their limits."""
    for _ in range(random.choice((1, 1, 3))):
        box = _timed(boxes, random)
        if len(box.body) < 8:
            continue
        # The first fields are counts and clocks.
        last = min(len(box.body) // 4 - 1, random.choice((2, 4, 10_000)))
        at = 4 * random.randint(1, max(1, last))
        word = random.choice((*_WORDS, random.getrandbits(32)))
        box.body = box.body[:at] + struct.pack(">I", word) + box.body[at + 4 :]


def shorten(boxes: list[_Box], random: Random) -> None:
    """A box that ends amid its fields, with a size that fits."""
    box = _timed(boxes, random)
    box.body = box.body[: random.randrange(len(box.body) + 1)]


_CHANGES: tuple[Callable[[list[_Box], Random], None], ...] = (
    change_size,
    change_kind,
    drop,
    double,
    swap,
    nest,
    change_head,
    change_words,
    change_words,
    change_words,
    shorten,
)


def _on_boxes(change: Callable[[list[_Box], Random], None]) -> Damage:
    def damage(data: bytes, random: Random) -> bytes:
        boxes = _parse(data)
        change(boxes, random)
        return b"".join(box.pack() for box in boxes)

    damage.__name__ = change.__name__
    return damage


DAMAGES: tuple[Damage, ...] = tuple(_on_boxes(change) for change in _CHANGES)


def _parse(data: bytes, depth: int = 0) -> list[_Box]:
    """What is no box any more, because it was damaged before, is kept as the last one's bytes."""
    found, at = [], 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        claimed = None if 8 <= size <= len(data) - at else size
        body = data[at + 8 : at + size] if claimed is None else data[at + 8 :]
        inside = claimed is None and kind in _CONTAINERS and depth < _MAX_DEPTH
        found.append(
            _Box(kind, b"" if inside else body, _parse(body, depth + 1) if inside else [], claimed)
        )
        at += 8 + len(body)
    return found or [_Box(b"free", data)]


def _any(boxes: list[_Box], random: Random) -> _Box:
    return random.choice([box for top in boxes for box in top.all()])


def _timed(boxes: list[_Box], random: Random) -> _Box:
    leaves = [box for top in boxes for box in top.all() if not box.children]
    return random.choice([box for box in leaves if box.kind in _TIMED] or leaves or boxes)


def _family(boxes: list[_Box], random: Random) -> list[_Box]:
    """All children of one box, or the boxes at the top: never none."""
    families = [box.children for top in boxes for box in top.all() if box.children]
    return random.choice([boxes, *families])
