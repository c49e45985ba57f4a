"""``vodray convert`` as a user runs it: results, exit codes, and one clear line when it fails."""

import json
import shutil
from pathlib import Path
from threading import Thread

import pytest

from tests.e2e.conftest import SIX_S, NewBroadcast
from tests.e2e.service import Done, vodray
from tests.e2e.world import check_media
from tests.media import Form, assert_same_packets, frame_numbers, remux_with_ffmpeg
from tests.media_fixtures import Clips
from tests.range_server import served

pytestmark = pytest.mark.timeout(240)


def convert(source: str | Path, folder: Path, *options: str | Path) -> Done:
    return vodray("convert", source, folder / "out.mp4", *options, cwd=folder)


@pytest.fixture
def own(clips: Clips, tmp_path: Path) -> Path:
    """A playlist whose files the test may change."""
    folder = tmp_path / "stream"
    shutil.copytree(clips(SIX_S).parent, folder)
    return folder / "stream.m3u8"


def test_a_playlist_becomes_an_mp4(clips: Clips, tmp_path: Path) -> None:
    source = clips(Form(seconds=12))
    done = convert(source, tmp_path, "--json", tmp_path / "report.json")
    assert (done.code, done.out) == (0, "")
    assert done.err.splitlines()[-1].endswith("packets, verified")
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["frames_in"] == report["frames_out"]
    mp4 = tmp_path / "out.mp4"
    check_media(mp4)
    assert_same_packets(
        mp4, remux_with_ffmpeg(source, tmp_path / "reference.mp4"), tolerance_s=1.5 / 48_000
    )
    # Nothing is left beside it.
    assert {path.name for path in tmp_path.iterdir()} == {"out.mp4", "report.json", "reference.mp4"}
    assert vodray("verify", mp4, cwd=tmp_path).code == 0


def test_any_number_of_workers_and_the_service_make_the_same_bytes(
    heavy: Path, broadcast: NewBroadcast, tmp_path: Path
) -> None:
    made = []
    for cpus in ("1", "2"):
        folder = tmp_path / cpus
        folder.mkdir()
        assert convert(heavy, folder, "--num-cpus", cpus).code == 0
        made.append((folder / "out.mp4").read_bytes())
    assert made[0] == made[1]
    ended = broadcast(heavy)
    ended.show_whole()
    ended.tell("ended")
    assert ended.world.fetch(ended.completed(), tmp_path / "service").read_bytes() == made[0]


def test_gaps_are_listed(own: Path, tmp_path: Path) -> None:
    (own.parent / "seg_00001.ts").unlink()
    done = convert(own, tmp_path)
    assert done.code == 3
    gaps = [line for line in done.err.splitlines() if line.startswith("gap at ")]
    assert len(gaps) == 1
    assert "segments 1: " in gaps[0]
    assert frame_numbers(tmp_path / "out.mp4") == [*range(50), *range(100, 150)]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "stream.m3u8 is empty"),
        ("<html><body>Not found</body></html>", "stream.m3u8 is a web page"),
        ("#EXTM3U\n#EXTINF:2,\n../../etc/passwd\n", "points outside its folder"),
        ("#EXTM3U\n#EXTINF:2,\nnone.ts\n", "No segment of"),
    ],
    ids=["empty", "web page", "outside", "no segment is there"],
)
def test_a_playlist_that_is_none(text: str, complaint: str, own: Path, tmp_path: Path) -> None:
    own.write_text(text)
    done = convert(own, tmp_path)
    assert (done.code, done.out) == (1, "")
    assert complaint in done.complaint
    assert {path.name for path in tmp_path.iterdir()} == {"stream"}


def test_no_playlist_is_there(tmp_path: Path) -> None:
    done = convert(tmp_path / "none.m3u8", tmp_path)
    assert done.code == 1
    assert done.complaint == f"vodray: There is no playlist at {tmp_path / 'none.m3u8'}"
    missing = convert("http://127.0.0.1:9/live.m3u8", tmp_path)
    assert missing.code == 1
    assert "127.0.0.1:9" in missing.complaint


@pytest.mark.parametrize(
    "arguments",
    [
        ["convert"],
        ["convert", "in.m3u8", "out.avi"],
        ["convert", "in.m3u8", "out.mp4", "--profile", "none"],
        ["convert", "in.m3u8", "out.mp4", "--num-cpus", "0"],
        ["verify"],
    ],
)
def test_usage(arguments: list[str], tmp_path: Path) -> None:
    assert vodray(*arguments, cwd=tmp_path).code == 2


def test_a_url_is_followed_until_its_end(clips: Clips, tmp_path: Path) -> None:
    source = clips(SIX_S)
    web = tmp_path / "web"
    shutil.copytree(source.parent, web)
    playlist = web / "stream.m3u8"
    whole = playlist.read_text()
    playlist.write_text(whole.split("seg_00001.ts")[0].rpartition("#EXTINF")[0])
    found: list[Done] = []
    with served(web) as url:
        thread = Thread(target=lambda: found.append(convert(f"{url}/stream.m3u8", tmp_path)))
        thread.start()
        thread.join(8)
        assert thread.is_alive(), found
        playlist.write_text(whole)
        thread.join(100)
    assert found[0].code == 0, found[0].err
    assert frame_numbers(tmp_path / "out.mp4") == list(range(150))
