"""What is taken for media, and what never is."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import MediaInvalid, Unsupported
from pipeline.media.sniff import Kind, identify

TS = (b"\x47" + bytes(187)) * 20


ADTS = b"\xff\xf1\x50\x80\x02\x1f\xfc" + bytes(9)  # a frame of 16 bytes
PRIV = b"com.apple.streaming.transportStreamTimestamp\0" + (2**33 - 5).to_bytes(8, "big")
ID3 = b"ID3\x04\x00\x00\x00\x00\x00" + bytes([10 + len(PRIV)])
STAMP = ID3 + b"PRIV" + len(PRIV).to_bytes(4, "big") + bytes(2) + PRIV


@pytest.mark.parametrize(
    ("data", "kind", "begin"),
    [
        (TS, Kind.TS, 0),
        (b"garbage before the first sync byte" + TS, Kind.TS, 34),
        (b"\x89PNG\r\n\x1a\n" + bytes(60) + TS, Kind.TS, 68),
        (TS[:376], Kind.TS, 0),
        (b"\x00\x00\x00\x1cftypiso5" + bytes(20), Kind.MP4, 0),
        (b"\x00\x00\x00\x18stypmsdh" + bytes(20), Kind.MP4, 0),
        (ADTS * 3, Kind.AAC, 0),
        (STAMP + ADTS * 3, Kind.AAC, len(STAMP)),
        (STAMP + STAMP + ADTS, Kind.AAC, 2 * len(STAMP)),
        (b"\xff\xfb\x90\x00" + bytes(20), Kind.MPEG_AUDIO, 0),
        (b"\x0b\x77\x00\x00\x00\x40" + bytes(20), Kind.AC3, 0),
        (b"\x0b\x77\x00\x00\x00\x80" + bytes(20), Kind.EAC3, 0),
    ],
)
def test_media_is_told_by_its_bytes(data: bytes, kind: Kind, begin: int) -> None:
    found = identify(data)
    assert found.kind is kind
    assert found.data == data[begin:]


@pytest.mark.parametrize("size", [192, 204])
def test_longer_packets_lose_what_is_around_them(size: int) -> None:
    ahead = size - 188 if size == 192 else 0
    packet = bytes(ahead) + TS[:188] + bytes(size - 188 - ahead)
    assert identify(packet * 9).data == TS[: 188 * 9]


def test_an_id3_tag_tells_the_time() -> None:
    assert identify(STAMP + ADTS).stamp == 2**33 - 5
    assert identify(ID3[:9] + bytes(1) + ADTS).stamp is None


@given(st.binary(max_size=2000))
def test_noise_is_hardly_ever_media(data: bytes) -> None:
    """What a wrong key makes of a segment must not be muxed; nothing else is raised."""
    try:
        identify(data)
    except (MediaInvalid, Unsupported):
        return


def test_wrong_keys_show() -> None:
    random = Random(1)
    taken = 0
    for _ in range(300):
        try:
            identify(random.randbytes(3000))
            taken += 1
        except MediaInvalid:
            continue
    assert taken <= 1


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
        (bytes(300) + b"G" + bytes(187), "neither"),
        (b"WEBVTT\n\n00:00.000 --> 00:01.000\nhello", "subtitles"),
    ],
)
def test_anything_else_is_named(data: bytes, said: str) -> None:
    with pytest.raises((MediaInvalid, Unsupported), match=said):
        identify(data)
