"""Parts of the multipart upload, for chunks of any sizes."""

from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.media.layout import (
    MAX_CHUNKS,
    MIN_PART_BYTES,
    ChunkSize,
    Growing,
    Layout,
    lay_out,
    part_number,
    target_chunk_bytes,
)

MIB = 2**20
SIZES = st.integers(1, 12 * MIB)


def chunks_of(sizes: list[int]) -> list[ChunkSize]:
    return [ChunkSize(index=i, size_bytes=size) for i, size in enumerate(sizes)]


def parts_of(layout: Layout, chunks: list[ChunkSize], head: int) -> list[tuple[int, int, int]]:
    """``(part number, first byte, byte behind)`` of the object, in order of part numbers."""
    size = {chunk.index: chunk.size_bytes for chunk in chunks}
    parts = [
        (part_number(c.index), head + layout.offset[c.index], c.size_bytes)
        for c in chunks
        if c.is_part
    ]
    for joined in layout.joined:
        first = head + layout.offset[joined.chunks[0]] if joined.chunks else head
        if joined.number == 1:
            first = 0
        length = sum(size[i] for i in joined.chunks) + joined.padding
        parts.append((joined.number, first, length + (head if joined.number == 1 else 0)))
    return [(number, first, first + length) for number, first, length in sorted(parts)]


@given(sizes=st.lists(SIZES, min_size=1, max_size=40), head=st.integers(100, 8 * MIB))
@example(sizes=[1], head=100)
@example(sizes=[1, MIN_PART_BYTES, 1, 1, MIN_PART_BYTES], head=100)
@example(sizes=[MIN_PART_BYTES - 3, MIN_PART_BYTES], head=1)
@example(sizes=[1, MIN_PART_BYTES - 1, MIN_PART_BYTES], head=100)
def test_parts_tile_the_object_and_all_but_the_last_are_large_enough(
    sizes: list[int], head: int
) -> None:
    chunks = chunks_of(sizes)
    layout = lay_out(chunks, head)
    parts = parts_of(layout, chunks, head)
    assert parts[0][0] == 1
    assert len({number for number, _, _ in parts}) == len(parts)
    at = 0
    for _, first, behind in parts:
        assert first == at
        at = behind
    assert at == head + layout.body_bytes
    assert all(behind - first >= MIN_PART_BYTES for _, first, behind in parts[:-1])
    assert parts[-1][0] <= 10_000


@given(sizes=st.lists(SIZES, min_size=1, max_size=40), head=st.integers(100, 8 * MIB))
def test_every_chunk_has_its_place_and_only_padding_lies_between(
    sizes: list[int], head: int
) -> None:
    chunks = chunks_of(sizes)
    layout = lay_out(chunks, head)
    joined = [i for part in layout.joined for i in part.chunks]
    assert sorted(joined + [c.index for c in chunks if c.is_part]) == list(range(len(chunks)))
    at = 0
    holes = 0
    for chunk in chunks:
        first = layout.offset[chunk.index]
        assert first >= at
        holes += first - at
        at = first + chunk.size_bytes
    holes += layout.body_bytes - at
    paddings = [part.padding for part in layout.joined]
    assert holes == sum(paddings)
    assert all(padding == 0 or padding >= 8 for padding in paddings)


@given(sizes=st.lists(SIZES, min_size=1, max_size=40), head=st.integers(100, 8 * MIB))
def test_parts_joined_on_the_way_are_those_of_the_end(sizes: list[int], head: int) -> None:
    """The object has the same parts, and whoever goes on from there makes none of them again."""
    chunks = chunks_of(sizes)
    at_the_end = lay_out(chunks, head)
    growing = Growing()
    parts = [joined for chunk in chunks if (joined := growing.add(chunk)) is not None]
    made = {joined.number: joined for joined in parts}
    assert len(made) == len(parts)
    members = {index for joined in parts for index in joined.chunks}
    chunks = [replace(c, is_joined=c.index in members) for c in chunks]
    now = lay_out(chunks, head)
    again = Growing()
    assert all(again.add(chunk) is None for chunk in chunks)
    assert (now.offset, now.body_bytes) == (at_the_end.offset, at_the_end.body_bytes)
    by_number = {joined.number: joined for joined in (*now.joined, *made.values())}
    assert by_number == {joined.number: joined for joined in at_the_end.joined}
    assert len(now.joined) <= 2
    assert now.joined[0].number == 1


def test_chunk_numbers_may_have_holes() -> None:
    """Chunks of which nothing could be kept are not among them."""
    chunks = [
        ChunkSize(index=3, size_bytes=7),
        ChunkSize(index=9, size_bytes=MIN_PART_BYTES),
    ]
    layout = lay_out(chunks, 100)
    assert layout.joined[0].chunks == (3,)
    assert layout.offset[9] == 7 + layout.joined[0].padding
    first_is_part = lay_out(chunks[1:], 100)
    assert (first_is_part.joined[0].number, first_is_part.joined[0].chunks) == (1, ())


def test_ten_thousand_parts_hold_days() -> None:
    assert part_number(MAX_CHUNKS - 1) <= 10_000
    total = sum(target_chunk_bytes(i) for i in range(MAX_CHUNKS))
    assert total > 400e9
    assert all(target_chunk_bytes(i) >= MIN_PART_BYTES for i in range(0, MAX_CHUNKS, 100))
