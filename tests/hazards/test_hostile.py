"""Playlists that point where they may not, and inputs that would exhaust us (row 22)."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.model import Status
from tests import bending
from tests.hazards.seen import assert_recorded
from tests.hazards.streams import SMALL
from tests.hazards.unreliable import unreliable
from tests.local_pool import Result, quick_settings, record
from tests.media import FPS
from tests.media_fixtures import Clips, copy_clip

FORM = replace(SMALL, seconds=6)
FRAMES = FORM.seconds * FPS
WITHOUT_MIDDLE = [*range(2 * FPS), *range(4 * FPS, FRAMES)]
SECRET = b"secret-that-must-not-leak"
OUTSIDE = [
    "../secret.ts",
    "../../../../../../../../etc/passwd",
    "%2e%2e/secret.ts",
    "..%2fsecret.ts",
    "link.ts",
    "file:///etc/passwd",
    "//127.0.0.1/a.ts",
    "http://169.254.169.254/latest/meta-data",
    "ftp://127.0.0.1/a.ts",
    "concat:a.ts|/etc/passwd",
    "data:video/mp2t;base64,R0AAEA==",
    "subfile,,start,0,end,0,,:/etc/passwd",
]

pytestmark = pytest.mark.usefixtures("small_chunks")


def assert_nothing_leaked(result: Result) -> None:
    told = str(result.recording.error) + str(result.recording.gaps) + str(result.report)
    assert SECRET.decode() not in told
    assert "root:" not in told
    for path in result.folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert SECRET not in data
            assert b"root:" not in data


@pytest.mark.parametrize(
    ("place", "uri"),
    [("segment", uri) for uri in OUTSIDE]
    + [(place, uri) for place in ("init", "key") for uri in OUTSIDE[:6]],
)
async def test_a_playlist_cannot_make_us_read_elsewhere(
    place: str, uri: str, clips: Clips, tmp_path: Path
) -> None:
    form = replace(FORM, container="fmp4") if place == "init" else FORM
    playlist = copy_clip(clips(form), tmp_path / "in")
    (tmp_path / "secret.ts").write_bytes(bytes(16) if place == "key" else SECRET * 40)
    (playlist.parent / "link.ts").symlink_to(tmp_path / "secret.ts")
    listed = bending.entries(playlist)
    if place == "segment":
        listed[1] = replace(listed[1], uri=uri)
    elif place == "init":
        listed[1] = listed[1].with_tags(f'#EXT-X-MAP:URI="{uri}"')
        listed[2] = listed[2].with_tags('#EXT-X-MAP:URI="init.mp4"')
    else:
        listed[1] = listed[1].with_tags(f'#EXT-X-KEY:METHOD=AES-128,URI="{uri}"')
        listed[2] = listed[2].with_tags("#EXT-X-KEY:METHOD=NONE")
    bending.write(playlist, listed)
    result = await record(playlist, tmp_path / "out")
    assert_nothing_leaked(result)
    assert_recorded(result, WITHOUT_MIDDLE, gaps=[(2.0, 2.0)], lost=[1])
    # To us, FFmpeg's own protocols are file names.
    reason = result.recording.gaps[0].reason
    assert ("is not there" if "subfile" in uri else "outside") in reason


@pytest.mark.parametrize("uri", ["http://127.0.0.1:{port}/a.ts", "//127.0.0.1:{port}/a.ts"])
async def test_nobody_is_called(uri: str, clips: Clips, tmp_path: Path) -> None:
    playlist = copy_clip(clips(FORM), tmp_path / "in")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        listed = bending.entries(playlist)
        listed[1] = replace(listed[1], uri=uri.format(port=server.getsockname()[1]))
        bending.write(playlist, listed)
        result = await record(playlist, tmp_path / "out")
        with pytest.raises(BlockingIOError):
            server.accept()
    assert_recorded(result, WITHOUT_MIDDLE, gaps=[(2.0, 2.0)], lost=[1])


async def test_a_redirect_is_not_followed(clips: Clips, tmp_path: Path) -> None:
    playlist = clips(FORM)
    target = playlist.parent.as_uri()
    with unreliable(playlist.parent, {}) as other:
        moves = {
            "seg_00001.ts": (f"to:{other.origin}/seg_00001.ts",),
            "seg_00002.ts": (f"to:{target}/seg_00002.ts",),
        }
        with unreliable(playlist.parent, moves) as server:
            result = await record(server.source(), tmp_path / "out")
        assert not other.asked
    assert_recorded(result, range(2 * FPS), gaps=[(2.0, 4.0)], lost=[1, 2])
    assert "redirect" in result.recording.gaps[0].reason


async def test_a_segment_without_an_end(clips: Clips, tmp_path: Path) -> None:
    playlist = copy_clip(clips(FORM), tmp_path / "in")
    with bending.paths(playlist)[1].open("r+b") as file:
        file.truncate(2**33)
    settings = quick_settings(max_segment_bytes=2**20)
    result = await record(playlist, tmp_path / "out", settings=settings)
    assert_recorded(result, WITHOUT_MIDDLE, gaps=[(2.0, 2.0)], lost=[1])
    assert "larger" in result.recording.gaps[0].reason


async def test_a_master_that_names_itself(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    master = folder / "stream.m3u8"
    master.write_text("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nstream.m3u8\n")
    result = await record(master, tmp_path / "out")
    assert result.recording.status is Status.FAILED
    assert "master playlist inside a master playlist" in str(result.recording.error)
