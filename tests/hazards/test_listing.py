"""Playlists that list too little, too much, in the wrong order or in odd words (rows 18, 21)."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from pipeline.model import Status
from tests import bending
from tests.bending import Entry
from tests.hazards.seen import assert_completed, assert_recorded, look
from tests.hazards.streams import SMALL
from tests.local_pool import record
from tests.media import FPS, Form
from tests.media_fixtures import Clips, copy_clip

FORM = replace(SMALL, seconds=8)
FRAMES = FORM.seconds * FPS
KINDS = {"ts": FORM, "fmp4": replace(FORM, container="fmp4")}

pytestmark = pytest.mark.usefixtures("small_chunks")


def without(*segments: int) -> list[int]:
    return [n for n in range(FRAMES) if n // (2 * FPS) not in segments]


@pytest.mark.parametrize("form", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("hole", [(1,), (1, 2), (2,)], ids=str)
async def test_a_hole_that_no_line_tells_of(
    hole: tuple[int, ...], form: Form, clips: Clips, tmp_path: Path
) -> None:
    playlist = copy_clip(clips(form), tmp_path / "in")
    listed = bending.entries(playlist)
    bending.write(playlist, [e for n, e in enumerate(listed) if n not in hole])
    result = await record(playlist, tmp_path / "out")
    lost = [s for gap in result.recording.gaps for s in gap.segments]
    start, length = 2.0 * hole[0], 2.0 * len(hole)
    assert_recorded(result, without(*hole), gaps=[(start, length)], lost=lost)
    assert "clock" in result.recording.gaps[0].reason


@pytest.mark.parametrize("form", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("gap", [(0,), (1, 2), (3,), (1, 3)], ids=str)
async def test_gap_tags_of_files_that_are_there_and_not(
    gap: tuple[int, ...], form: Form, clips: Clips, tmp_path: Path
) -> None:
    """What is marked is not read, whatever lies there."""
    playlist = copy_clip(clips(form), tmp_path / "in")
    bending.paths(playlist)[gap[0]].write_bytes(b"nothing")
    for number in gap:
        bending.edit(playlist, number, "#EXT-X-GAP")
        listed = bending.entries(playlist)
    text = playlist.read_text()
    for number in gap:
        text = text.replace(listed[number].uri, f"#EXT-X-GAP\n{listed[number].uri}")
    playlist.write_text(text)
    result = await record(playlist, tmp_path / "out")
    apart = gap == (1, 3)
    gaps = [(2.0, 2.0), (4.0, 2.0)] if apart else [(2.0 * gap[0], 2.0 * len(gap))]
    assert_recorded(result, without(*gap), gaps=gaps, lost=gap)
    assert all("EXT-X-GAP" in found.reason for found in result.recording.gaps)


async def test_wall_clock_of_a_gap(clips: Clips, tmp_path: Path) -> None:
    playlist = copy_clip(clips(FORM), tmp_path / "in")
    first = bending.entries(playlist)[0].uri
    bending.paths(playlist)[2].unlink()
    stamp = "#EXT-X-PROGRAM-DATE-TIME:2025-10-05T18:00:00.500+02:00"
    playlist.write_text(playlist.read_text().replace(first, f"{stamp}\n{first}"))
    result = await record(playlist, tmp_path / "out")
    assert_completed(result, [(4.0, 2.0)], [2])
    at = result.recording.gaps[0].wall_clock
    assert at is not None
    assert at.timestamp() == pytest.approx(1_759_680_004.5, abs=0.05)


@pytest.mark.parametrize("form", KINDS.values(), ids=KINDS.keys())
async def test_a_line_written_twice_is_one_segment(
    form: Form, clips: Clips, tmp_path: Path
) -> None:
    playlist = copy_clip(clips(form), tmp_path / "in")
    listed = bending.entries(playlist)
    bending.write(playlist, [*listed[:2], bending.without_map(listed[1]), *listed[2:]])
    assert_recorded(await record(playlist, tmp_path / "out"), range(FRAMES))


async def test_the_same_advertisement_twice_is_two(clips: Clips, tmp_path: Path) -> None:
    """The same file behind EXT-X-DISCONTINUITY is meant."""
    playlist = copy_clip(clips(FORM), tmp_path / "in")
    listed = bending.entries(playlist)
    again = [entry.with_tags("#EXT-X-DISCONTINUITY") for entry in listed[:1]]
    bending.write(playlist, [listed[0], *again, *again])
    result = await record(playlist, tmp_path / "out")
    assert_completed(result)
    assert look(result.mp4).numbers == [*range(50)] * 3


async def test_segments_in_the_wrong_order(clips: Clips, tmp_path: Path) -> None:
    """Every picture once, sound with it."""
    playlist = copy_clip(clips(FORM), tmp_path / "in")
    a, b, c, d = bending.entries(playlist)
    bending.write(playlist, [a, c, b, d])
    result = await record(playlist, tmp_path / "out")
    assert result.recording.status is Status.COMPLETED
    seen = look(result.mp4)
    assert sorted(seen.numbers) == list(range(FRAMES))
    pictures = [seen.at(n) for n in seen.numbers if n % FPS == 0]
    assert seen.ticks_s == pytest.approx(pictures, abs=0.03)


NAMES = {
    "unicode": ("gr\u00f6\u00dfe \u65e5\u672c-{}.ts", lambda name: name),
    "percent": ("gr\u00f6\u00dfe \u65e5\u672c-{}.ts", quote),
    "reserved": ("a#b?c%41-{}.ts", quote),
    "plus": ("a+b&c=d-{}.ts", lambda name: name),
    "query": ("{}.ts", lambda name: name + "?token=a/b&x=../y#t"),
    "folders": ("a/b/{}.ts", lambda name: "./a/../" + name),
    "blanks": ("{}.ts", lambda name: name + "  "),
}


@pytest.mark.parametrize(("name", "write"), NAMES.values(), ids=NAMES.keys())
async def test_odd_names(
    name: str, write: Callable[[str], str], clips: Clips, tmp_path: Path
) -> None:
    playlist = copy_clip(clips(FORM), tmp_path / "in")
    (playlist.parent / "a" / "b").mkdir(parents=True)
    listed = []
    for number, entry in enumerate(bending.entries(playlist)):
        own = name.format(number)
        (playlist.parent / entry.uri).rename(playlist.parent / own)
        listed.append(Entry(tags=entry.tags, uri=write(own)))
    bending.write(playlist, listed)
    assert_recorded(await record(playlist, tmp_path / "out"), range(FRAMES))


TEXTS: dict[str, Callable[[str], bytes]] = {
    "bom-crlf": lambda text: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(),
    "no-comma": lambda text: text.replace(".000000,", "").encode(),
    "no-target": lambda text: "".join(
        line for line in text.splitlines(True) if "TARGETDURATION" not in line
    ).encode(),
    "behind-the-end": lambda text: (text + "#EXT-X-ODD:1\n\n# a comment\n").encode(),
    "odd-tags": lambda text: text.replace(
        "#EXTINF", '#EXT-X-CUE-OUT:30\n#EXT-OATCLS-SCTE35:/DAl\n#EXT-X-DATERANGE:ID="x"\n#EXTINF'
    ).encode(),
    "lower-case-comment": lambda text: text.replace("#EXTINF", "#extinf is next\n#EXTINF").encode(),
    "durations-of-zero": lambda text: text.replace("EXTINF:2.000000", "EXTINF:0").encode(),
    "durations-that-lie": lambda text: text.replace("EXTINF:2.000000", "EXTINF:9.5").encode(),
    "nul-behind": lambda text: text.encode() + bytes(8),
}


@pytest.mark.parametrize("bend", TEXTS.values(), ids=TEXTS.keys())
async def test_odd_words(bend: Callable[[str], bytes], clips: Clips, tmp_path: Path) -> None:
    playlist = copy_clip(clips(FORM), tmp_path / "in")
    playlist.write_bytes(bend(playlist.read_text()))
    assert_recorded(await record(playlist, tmp_path / "out"), range(FRAMES))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "empty"),
        (b"<html><body>login</body></html>", "line 1"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-ENDLIST\n", "no segment"),
        (b"\x47\x40\x11\x10" + bytes(184), "line 1"),
    ],
    ids=["empty", "html", "no-segments", "media"],
)
async def test_what_is_no_playlist_is_refused(data: bytes, told: str, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "stream.m3u8").write_bytes(data)
    result = await record(folder / "stream.m3u8", tmp_path / "out")
    assert result.recording.status is Status.FAILED
    assert told in str(result.recording.error)
