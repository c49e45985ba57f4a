"""A playlist that grows is read as if all of it were parsed each time."""

import time
from random import Random

import pytest

from pipeline.errors import SourceError
from pipeline.media import growing
from pipeline.media.growing import GrowingPlaylist
from pipeline.media.playlist import MediaPlaylist, parse
from pipeline.media.playlist_text import PlaylistLimits
from tests.fuzz.playlists import change_lines

LIMITS = PlaylistLimits()
HEADS = {
    "plain": [],
    "numbers": ["#EXT-X-MEDIA-SEQUENCE:7", "#EXT-X-DISCONTINUITY-SEQUENCE:3"],
    "map": ['#EXT-X-MAP:URI="init.mp4"'],
    "key": ['#EXT-X-KEY:METHOD=AES-128,URI="key.bin"'],
    "both": ['#EXT-X-KEY:METHOD=AES-128,URI="key.bin",IV=0x1', '#EXT-X-MAP:URI="init.mp4"'],
    "date": ["#EXT-X-PROGRAM-DATE-TIME:2025-10-05T18:00:00.000Z"],
}
BETWEEN = (
    "#EXT-X-DISCONTINUITY",
    "#EXT-X-PROGRAM-DATE-TIME:2025-10-05T19:00:00.000Z",
    '#EXT-X-MAP:URI="init2.mp4"',
    '#EXT-X-KEY:METHOD=AES-128,URI="key2.bin"',
    "#EXT-X-KEY:METHOD=NONE",
    "#EXT-X-GAP",
    "#EXT-X-BYTERANGE:100@0",
    "# a comment",
    "",
    "  ",
    "#EXTINF:2,",
    "#EXT-X-TARGETDURATION:9",
    "#EXT-X-MEDIA-SEQUENCE:100",
    "#EXTM3U",
    "#EXT-X-ENDLIST",
    "stray.ts",
)


def lines(head: list[str], count: int, random: Random, oddities: float) -> list[str]:
    found = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:4", *head]
    for number in range(count):
        if random.random() < oddities:
            found.append(random.choice(BETWEEN))
        found += [f"#EXTINF:{random.choice(('4.000', '3.96', '0', '4,title'))},", f"s{number}.ts"]
    return found


def parsed(data: bytes, limits: PlaylistLimits = LIMITS) -> object:
    try:
        return parse(data, "x", limits)
    except SourceError as error:
        return str(error)


def read(playlist: GrowingPlaylist, data: bytes, limits: PlaylistLimits = LIMITS) -> object:
    try:
        return playlist.read(data, "x", limits)
    except SourceError as error:
        return str(error)


@pytest.mark.parametrize("oddities", [0.0, 0.02, 0.2])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("seed", range(6))
def test_it_is_as_if_all_were_parsed(
    head: str, oddities: float, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growing, "_SHORT", 4)
    random = Random(f"{head} {oddities} {seed}")
    whole = lines(HEADS[head], 60, random, oddities)
    end = random.choice(("\n", "\r\n"))
    playlist, upto = GrowingPlaylist(), 8
    while upto < len(whole):
        upto = min(len(whole), upto + random.choice((0, 1, 2, 2, 4, 6, 20)))
        told = end.join(whole[:upto]) + random.choice((end, end, "", f"{end}#EXT-X-ENDLIST{end}"))
        data = told.encode()
        if random.random() < 0.1:
            data = change_lines(data, random)
        assert read(playlist, data) == parsed(data)


def test_only_what_is_new_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def watched(data: bytes, ref: str, limits: PlaylistLimits) -> object:
        sizes.append(len(data))
        return parse(data, ref, limits)

    monkeypatch.setattr(growing, "parse", watched)
    for head in ("plain", "numbers", "map", "key", "date"):
        playlist = GrowingPlaylist()
        whole = lines(HEADS[head], 400, Random(1), 0.0)
        sizes.clear()
        for upto in range(200, len(whole), 2):
            data = "\n".join([*whole[:upto], ""]).encode()
            assert read(playlist, data) == parsed(data)
        assert max(sizes[1:]) < 400 < sizes[0], head


def test_the_limits_hold_for_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "_SHORT", 4)
    few = PlaylistLimits(max_segments=40)
    playlist = GrowingPlaylist()
    whole = lines([], 60, Random(1), 0.0)
    found = []
    for upto in range(20, len(whole), 2):
        data = "\n".join([*whole[:upto], ""]).encode()
        found.append(read(playlist, data, few))
        assert found[-1] == parsed(data, few)
    assert isinstance(found[0], MediaPlaylist)
    assert isinstance(found[-1], str)


def test_half_a_day_is_read_quickly() -> None:
    whole = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n" + "".join(
        f"#EXTINF:4.000000,\nsegment-{number:05d}.ts\n" for number in range(10_800)
    )
    playlist = GrowingPlaylist()
    data = whole.encode()
    began = time.perf_counter()
    playlist.read(data, "x", LIMITS)
    first_s = time.perf_counter() - began
    began = time.perf_counter()
    playlist.read(data + b"#EXTINF:4,\nnext.ts\n", "x", LIMITS)
    assert time.perf_counter() - began < first_s / 10
