"""Web servers that fail, for a while or for ever; those that know no ranges (rows 9, 11)."""

import json
from pathlib import Path

import pytest

from pipeline.media.playlist import parse
from tests import bending
from tests.hazards.seen import assert_recorded
from tests.hazards.streams import SMALL, SMALL_FMP4
from tests.hazards.unreliable import unreliable
from tests.local_pool import quick_settings, record
from tests.media import FPS, Form
from tests.media_fixtures import Clips, copy_clip

FRAMES = SMALL.seconds * FPS
WITHOUT_FIRST = range(FRAMES // 2, FRAMES)
WITHOUT_LAST = range(FRAMES // 2)
FIRST, LAST = "seg_00000.ts", "seg_00001.ts"
TRIES = quick_settings().max_retry_attempts + 1

pytestmark = pytest.mark.usefixtures("small_chunks")


@pytest.mark.parametrize("bad", ["503", "500", "429", "404", "short"])
async def test_what_fails_for_a_while_is_tried_again(
    bad: str, clips: Clips, tmp_path: Path
) -> None:
    with unreliable(clips(SMALL).parent, {LAST: (bad, bad, "well")}) as server:
        result = await record(server.source(), tmp_path / "out")
    assert_recorded(result, range(FRAMES))
    assert server.asked[LAST] == 3


@pytest.mark.parametrize("bad", ["404", "410", "403", "503", "short", "html", "empty"])
@pytest.mark.parametrize(
    ("name", "left", "gap", "lost"),
    [(FIRST, WITHOUT_FIRST, (0.0, 2.0), 0), (LAST, WITHOUT_LAST, (2.0, 2.0), 1)],
    ids=["first", "last"],
)
async def test_what_fails_for_ever_is_a_gap(
    bad: str,
    name: str,
    left: range,
    gap: tuple[float, float],
    lost: int,
    clips: Clips,
    tmp_path: Path,
) -> None:
    with unreliable(clips(SMALL).parent, {name: (bad,)}) as server:
        result = await record(server.source(), tmp_path / "out")
    assert_recorded(result, left, gaps=[gap], lost=[lost])
    reason = result.recording.gaps[0].reason
    told = {"short": "broke off", "html": "text", "empty": "empty"}.get(bad, bad)
    assert told in reason
    assert "html" not in reason or bad == "html"
    # What will not change is not asked for again. A server that fails gets another round, once it
    # has answered otherwise. The first look asks for the first segment too.
    rounds = 2 if bad in ("503", "short") else 1
    may_change = rounds == 2 or bad in ("404", "410")
    looks = 1 if name == FIRST else 0
    assert server.asked[name] <= (TRIES * rounds if may_change else 1) + looks


@pytest.mark.parametrize("form", [SMALL, SMALL_FMP4], ids=["ts", "fmp4"])
@pytest.mark.parametrize("act", ["well", "whole"])
@pytest.mark.parametrize("offsets", ["told", "untold"])
async def test_byte_ranges(
    form: Form, act: str, offsets: str, clips: Clips, tmp_path: Path
) -> None:
    """Each byte once, also where a range follows the one before, and from a server that sends the
    whole file for each."""
    playlist = copy_clip(clips(form), tmp_path / "in")
    init = playlist.parent / "init.mp4"
    head = init.read_bytes() if init.exists() else b""
    whole, listed = bytes(77) + head, []
    first = len(whole)
    for entry in bending.entries(playlist):
        data = (playlist.parent / entry.uri).read_bytes()
        told = offsets == "told" or len(whole) == first
        span = f"{len(data)}@{len(whole)}" if told else str(len(data))
        bare = bending.without_map(entry)
        tags = (*bare.tags, f"#EXT-X-BYTERANGE:{span}")
        listed.append(bending.Entry(tags=tags, uri="all.bin"))
        whole += data
    (playlist.parent / "all.bin").write_bytes(whole)
    map_tag = f'#EXT-X-MAP:URI="all.bin",BYTERANGE="{len(head)}@77"'
    bending.write(playlist, listed, *([map_tag] if head else []))
    assert parse(playlist.read_bytes(), "it")
    with unreliable(playlist.parent, {"all.bin": (act,)}) as server:
        result = await record(server.source(), tmp_path / "out")
    assert_recorded(result, range(FRAMES))


async def test_ranges_in_another_order_than_the_file(clips: Clips, tmp_path: Path) -> None:
    playlist = copy_clip(clips(SMALL), tmp_path / "in")
    first, second = (path.read_bytes() for path in bending.paths(playlist))
    (playlist.parent / "all.ts").write_bytes(second + first)
    listed = [
        bending.Entry(tags=("#EXTINF:2,", f"#EXT-X-BYTERANGE:{len(data)}@{at}"), uri="all.ts")
        for data, at in ((first, len(second)), (second, 0))
    ]
    bending.write(playlist, listed)
    assert_recorded(await record(playlist, tmp_path / "out"), range(FRAMES))


async def test_a_range_that_the_file_does_not_have_is_a_gap(clips: Clips, tmp_path: Path) -> None:
    playlist = copy_clip(clips(SMALL), tmp_path / "in")
    bending.edit(playlist, 1, "#EXT-X-BYTERANGE:5000@9000000")
    result = await record(playlist, tmp_path / "out")
    assert_recorded(result, WITHOUT_LAST, gaps=[(2.0, 2.0)], lost=[1])


@pytest.mark.parametrize("act", ["well", "404", "html"])
@pytest.mark.parametrize("signature", ["?token=t0ken", ";t0ken"])
async def test_nothing_secret_of_an_address_is_told(
    act: str, signature: str, clips: Clips, tmp_path: Path
) -> None:
    """Neither in the report nor in what went wrong."""
    playlist = copy_clip(clips(SMALL), tmp_path / "in")
    name = f"stream.m3u8{signature}"
    if signature.startswith(";"):
        playlist.rename(playlist.with_name(name))
    acts = {path.name: (act,) for path in playlist.parent.glob("*.ts")}
    with unreliable(playlist.parent, acts) as server:
        result = await record(server.source(name), tmp_path / "out")
    error = result.recording.error
    told = str(error) if error else json.dumps(result.report)
    assert (error is None) == (act == "well")
    assert "stream.m3u8" in told
    assert "t0ken" not in told
