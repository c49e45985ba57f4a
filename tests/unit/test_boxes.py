"""Boxes as hostile bytes may hold them."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import MediaInvalid
from pipeline.media import boxes


@given(st.lists(st.tuples(st.binary(min_size=4, max_size=4), st.binary(max_size=50)), max_size=8))
def test_what_is_made_is_walked(content: list[tuple[bytes, bytes]]) -> None:
    data = b"".join(boxes.make(kind, body) for kind, body in content)
    assert [(b.kind, data[b.body : b.end]) for b in boxes.walk(data)] == content


@given(st.binary(max_size=200))
def test_any_bytes_are_walked_or_refused_and_never_beyond_their_end(data: bytes) -> None:
    at = 0
    try:
        for box in boxes.walk(data):
            assert box.start == at
            assert box.start < box.body <= box.end <= len(data)
            at = box.end
    except MediaInvalid:
        return
    assert at == len(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0",
        struct.pack(">I4s", 7, b"moov"),
        struct.pack(">I4s", 9, b"moov"),
        struct.pack(">I4s", 1, b"mdat"),
        struct.pack(">I4sQ", 1, b"mdat", 15),
        struct.pack(">I4sQ", 1, b"mdat", 2**63),
    ],
)
def test_sizes_that_cannot_be_are_refused(data: bytes) -> None:
    with pytest.raises(MediaInvalid):
        list(boxes.walk(data))


def test_large_and_open_ended_boxes() -> None:
    large = struct.pack(">I4sQ", 1, b"mdat", 2**40)
    assert boxes.read_header(large, 0, 2**41).end == 2**40
    open_ended = struct.pack(">I4s", 0, b"mdat") + bytes(10)
    assert [b.end for b in boxes.walk(open_ended)] == [18]


def test_find_and_need() -> None:
    data = boxes.make(b"moov", boxes.make(b"trak"), boxes.make(b"trak", boxes.make(b"mdia", b"x")))
    assert boxes.find(data, "moov/udta") is None
    found = boxes.need(data, "moov/trak/mdia")
    assert data[found.body : found.end] == b"x"
    with pytest.raises(MediaInvalid, match="moov/udta"):
        boxes.need(data, "moov/udta")


@pytest.mark.parametrize("size", [8, 9, 5 * 2**20])
def test_free_space_has_the_size_that_is_asked_for(size: int) -> None:
    data = boxes.free_space(size)
    assert len(data) == size
    assert [(b.kind, b.end) for b in boxes.walk(data)] == [(b"free", size)]


def test_full_boxes_carry_version_and_flags() -> None:
    assert boxes.make_full(b"stsz", 1, 3, b"x") == b"\0\0\0\x0dstsz\x01\0\0\x03x"
