"""What is taken for media, and what never is."""

import pytest

from pipeline.errors import MediaInvalid
from pipeline.media.sniff import check_is_media

TS = (b"\x47" + bytes(187)) * 20
M2TS = (bytes(4) + b"\x47" + bytes(187)) * 20


@pytest.mark.parametrize(
    "data",
    [
        TS,
        M2TS,
        b"garbage before the first sync byte" + TS,
        b"\x89PNG\r\n\x1a\n" + bytes(60) + TS,
        TS[:376],
        b"\x00\x00\x00\x1cftypiso5" + bytes(20),
        b"\x00\x00\x00\x18stypmsdh" + bytes(20),
        b"ID3\x04\x00\x00" + bytes(20),
        b"\xff\xf1\x50\x80" + bytes(20),
        b"\x0b\x77" + bytes(20),
    ],
)
def test_media_passes(data: bytes) -> None:
    check_is_media(data)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"<!DOCTYPE html><html>Gateway Timeout</html>", "text"),
        (b'{"error": "not found"}', "text"),
        (b"HTTP/1.1 503 Service Unavailable\r\n", "text"),
        (bytes(1000), "neither"),
        (b"G", "neither"),
        (b"G" + bytes(400), "neither"),
        (b"", "neither"),
    ],
)
def test_anything_else_is_named(data: bytes, said: str) -> None:
    with pytest.raises(MediaInvalid, match=said):
        check_is_media(data)
