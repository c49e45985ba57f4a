"""``inspect`` says what ``convert`` does: its verdict, gaps and remedies are those of a recording
of the same input; and what is wrong is named where it is."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pipeline.gaps import describe_gap
from pipeline.inspection.inspect import inspect
from pipeline.source import FileSource
from serve_app import cli
from tests import bending, media
from tests.bending import WRAP
from tests.hazards.encrypted import IV, OTHER_KEY, Lock, lock
from tests.hazards.streams import SMALL, SMALL_FMP4, X264, encode, encode_hls, segmented
from tests.local_pool import quick_settings, record
from tests.media import Form
from tests.media_fixtures import Clips, copy_clip
from tests.range_server import served

Make = Callable[[Clips, Path], Path]
MPEG2 = ["-c:v", "mpeg2video", "-b:v", "500k", "-g", "25", "-pix_fmt", "yuv420p"]
MP2 = ["-c:a", "mp2", "-b:a", "64k"]

pytestmark = pytest.mark.usefixtures("small_chunks")


def look(playlist: Path, gap_policy: str = "cut") -> dict[str, Any]:
    settings = quick_settings(gap_policy=gap_policy)
    return inspect(FileSource(playlist), settings, lambda _done, _total: None)


# --- streams -----------------------------------------------------------------------------------


def damaged(clips: Clips, folder: Path) -> Path:
    """One segment is gone, one is a web page, one is cut off."""
    playlist = copy_clip(clips(replace(SMALL, seconds=12)), folder)
    gone, page, torn = (bending.paths(playlist)[number] for number in (1, 3, 4))
    gone.unlink()
    page.write_bytes(b"<!DOCTYPE html><html><body>404</body></html>")
    torn.write_bytes(torn.read_bytes()[: torn.stat().st_size // 2])
    return playlist


def restarted(clips: Clips, folder: Path, *, marked: bool = False) -> Path:
    parts = [clips(SMALL), clips(replace(SMALL, first_frame=100))]
    return bending.join(parts, folder, marked=marked)


def wrapping(clips: Clips, folder: Path) -> Path:
    playlist = copy_clip(clips(SMALL), folder)
    for path in bending.paths(playlist):
        path.write_bytes(bending.shift_clock(path.read_bytes(), WRAP - 3 * 90_000))
    return playlist


def jumping(clips: Clips, folder: Path) -> Path:
    playlist = copy_clip(clips(replace(SMALL, seconds=6)), folder)
    for path in bending.paths(playlist)[1:]:
        path.write_bytes(bending.shift_clock(path.read_bytes(), 30 * 90_000))
    return playlist


def locked(clips: Clips, folder: Path) -> Path:
    playlist = copy_clip(clips(replace(SMALL, seconds=6)), folder)
    other = Lock(key=OTHER_KEY, iv=None, file="other.bin")
    return lock(playlist, {0: Lock(iv=IV), 1: other, 2: None})


def wrong_key(clips: Clips, folder: Path) -> Path:
    playlist = copy_clip(clips(replace(SMALL, seconds=6)), folder)
    lock(playlist, {0: None, 2: Lock()})
    (folder / "key.bin").write_bytes(OTHER_KEY)
    return playlist


def master(_clips: Clips, folder: Path) -> Path:
    """Pictures and sound apart, a second language that is not there, a variant that is not."""
    whole = encode(folder / "whole.nut", output=["-f", "nut", "-output_ts_offset", "10"])
    for track, name in (("0:v", "v"), ("0:a", "en")):
        options, playlist = segmented(folder / name)
        times = ["-copyts", "-avoid_negative_ts", "disabled"]
        media.ffmpeg("-i", whole, "-map", track, "-c", "copy", *times, *options, playlist)
    sound = '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="{}",URI="{}"'
    stream = '#EXT-X-STREAM-INF:BANDWIDTH=9000,RESOLUTION={},AUDIO="a"\n{}'
    path = folder / "master.m3u8"
    path.write_text(
        "\n".join(
            [
                "#EXTM3U",
                sound.format("English", "en/stream.m3u8?token=secret"),
                sound.format("Deutsch", "de/stream.m3u8"),
                '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="s",NAME="Words",URI="s.m3u8"',
                stream.format("128x72", "v/stream.m3u8"),
                stream.format("1280x720", "none.m3u8"),
                "",
            ]
        )
    )
    return path


def old_codecs(_clips: Clips, folder: Path) -> Path:
    return encode_hls(folder, video=MPEG2, audio=MP2)


def other_size(_clips: Clips, folder: Path) -> Path:
    """The resolution changes in the middle."""
    small = encode_hls(folder / "small", SMALL)
    large = encode_hls(
        folder / "large", replace(SMALL, first_frame=100), video=[*X264, "-vf", "scale=256:144"]
    )
    return bending.join([small, large], folder / "in", marked=True)


def gone(clips: Clips, folder: Path) -> Path:
    playlist = copy_clip(clips(SMALL), folder)
    for path in bending.paths(playlist):
        path.unlink()
    return playlist


def late_ruin(clips: Clips, folder: Path) -> Path:
    """What the first look takes for media gives no recording."""
    playlist = copy_clip(clips(SMALL), folder)
    for path in bending.paths(playlist):
        path.write_bytes(b"<!DOCTYPE html>")
    return playlist


def clean(form: Form) -> Make:
    return lambda clips, folder: copy_clip(clips(form), folder)


STREAMS: dict[str, tuple[Make, str]] = {
    "ts": (clean(SMALL), "completed"),
    "fmp4": (clean(SMALL_FMP4), "completed"),
    "byte-ranges": (clean(replace(SMALL_FMP4, single_file=True)), "completed"),
    "sound-only": (clean(replace(SMALL, fps=0)), "completed"),
    "damaged": (damaged, "completed_with_gaps"),
    "clock-set-back": (restarted, "completed"),
    "clock-wraps": (wrapping, "completed"),
    "clock-jumps": (jumping, "completed_with_gaps"),
    "encrypted": (locked, "completed"),
    "wrong-key": (wrong_key, "completed_with_gaps"),
    "master": (master, "completed_with_gaps"),
    "old-codecs": (old_codecs, "completed"),
    "other-size": (other_size, "completed"),
    "gone": (gone, "failed"),
    "web-pages": (late_ruin, "failed"),
}


@pytest.mark.parametrize("gap_policy", ["cut", "fill"])
@pytest.mark.parametrize(("make", "outcome"), STREAMS.values(), ids=STREAMS.keys())
async def test_it_agrees_with_a_recording(
    make: Make, outcome: str, gap_policy: str, clips: Clips, tmp_path: Path
) -> None:
    playlist = make(clips, tmp_path / "in")
    settings = quick_settings(gap_policy=gap_policy)
    result = await record(playlist, tmp_path / "out", settings=settings)
    recording, report = result.recording, result.report
    found = look(playlist, gap_policy)
    assert found["verdict"]["outcome"] == outcome
    assert found["verdict"]["reason"] == recording.error
    assert recording.status == ("failed" if outcome == "failed" else "completed")
    assert found["gaps"] == [describe_gap(gap) for gap in recording.gaps]
    if outcome == "failed":
        assert found["result"] is None
        return
    assert found["verdict"]["filled_s"] == report["filled_s"]
    assert found["remedies"] == report["remedies"]
    assert found["result"]["tracks"] == report["tracks"]
    assert found["result"]["duration_s"] == report["duration_s"]
    assert found["result"]["size_bytes"] == recording.file_size
    named = set(found["dropped_streams"]) | set((found["master"] or {}).get("dropped", ()))
    assert named == set(report["dropped_streams"])
    assert [chunk["segments"] for chunk in found["chunks"]] == [
        chunk["segments"] for chunk in report["chunks"]
    ]


# --- what it says ------------------------------------------------------------------------------


def test_a_clean_stream(clips: Clips) -> None:
    found = look(clips(SMALL))
    (playlist,) = found["playlists"]
    assert playlist["containers"] == {"TS": 2}
    assert playlist["ended"] is True
    assert playlist["duration_s"] == 4.0
    assert playlist["segments"]["count"] == len(found["segments"]) == 2
    assert playlist["segments"]["bytes"] == sum(s["bytes"] for s in found["segments"])
    video, audio = playlist["streams"]
    assert (video["codec"], video["width"], video["height"]) == ("h264", 128, 72)
    assert video["frame_rate"] == pytest.approx(25)
    assert (audio["codec"], audio["sample_rate"], audio["channels"]) == ("aac", 48_000, 1)
    assert playlist["encryption"]["method"] is None
    assert found["master"] is None
    assert found["timeline"]["events"] == []
    assert found["timeline"]["extinf"]["wrong"] == 0
    (sound,) = found["timeline"]["sound"]
    assert abs(sound["begins_later_s"]) < 0.1
    assert abs(sound["per_segment_max_s"]) < 0.1
    for segment in found["segments"]:
        assert segment["problems"] == []
        assert segment["action"] == "kept"
        assert segment["starts_with_keyframe"] is True
        assert segment["real_s"] == pytest.approx(2.0)


def test_damage_is_named_where_it_is(clips: Clips, tmp_path: Path) -> None:
    found = look(damaged(clips, tmp_path / "in"))
    segments = found["segments"]
    assert [s["sequence"] for s in segments if s["action"] == "left out"] == [1, 3]
    assert "is not there" in segments[1]["problems"][0]
    assert "text" in segments[3]["problems"][0]
    assert segments[4]["action"] == "kept in part"
    assert "EXTINF says 2.000 s" in segments[4]["problems"][-1]
    assert found["timeline"]["extinf"]["worst"]["segment"] == 4
    jumps = [event for event in found["timeline"]["events"] if event["kind"] == "jump"]
    assert [(event["segment"], event["after_loss"]) for event in jumps][:1] == [(2, True)]


@pytest.mark.parametrize("marked", [True, False])
def test_a_clock_that_is_set_back(marked: bool, clips: Clips, tmp_path: Path) -> None:
    found = look(restarted(clips, tmp_path / "in", marked=marked))
    (event,) = found["timeline"]["events"]
    assert (event["kind"], event["segment"], event["marked"]) == ("reset", 2, marked)
    assert event["seconds"] == pytest.approx(-4.0, abs=0.1)
    assert event["at_s"] == pytest.approx(4.0, abs=0.1)


def test_a_clock_that_goes_round(clips: Clips, tmp_path: Path) -> None:
    found = look(wrapping(clips, tmp_path / "in"))
    assert [event["kind"] for event in found["timeline"]["events"]] == ["wrap"]
    assert found["segments"][0]["clock_s"] > found["segments"][1]["clock_s"]


def test_a_clock_that_jumps(clips: Clips, tmp_path: Path) -> None:
    found = look(jumping(clips, tmp_path / "in"))
    (event,) = found["timeline"]["events"]
    assert (event["kind"], event["segment"]) == ("jump", 1)
    assert event["seconds"] == pytest.approx(30, abs=0.1)
    assert found["verdict"]["missing_s"] == pytest.approx(30, abs=0.1)


def test_encryption_without_its_keys(clips: Clips, tmp_path: Path) -> None:
    found = look(locked(clips, tmp_path / "in"))
    assert found["playlists"][0]["encryption"] == {
        "method": "AES-128",
        "segments": 2,
        "keys": 2,
        "iv": ["sequence", "explicit"],
        "init_encrypted": False,
        "unsupported": [],
    }
    assert [s["encrypted"] for s in found["segments"]] == [True, True, False]
    for secret in (OTHER_KEY.hex(), IV.hex(), ".bin"):
        assert secret not in json.dumps(found)


def test_unsupported_encryption_is_named(clips: Clips, tmp_path: Path) -> None:
    playlist = copy_clip(clips(SMALL), tmp_path / "in")
    key = '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="data:text/plain;base64,c2VjcmV0a2V5"'
    bending.edit(playlist, 1, key)
    found = look(playlist)
    assert found["playlists"][0]["encryption"]["unsupported"] == [
        "it is encrypted with SAMPLE-AES, which is not supported"
    ]
    assert "c2VjcmV0" not in json.dumps(found)


def test_no_secret_of_an_address_is_told(clips: Clips, tmp_path: Path) -> None:
    playlist = copy_clip(clips(replace(SMALL, seconds=6)), tmp_path / "in")
    bending.edit(playlist, 1, '#EXT-X-KEY:METHOD=AES-128,URI="data:text/plain;base64,c2VjcmV0"')
    elsewhere = "https://user:passw0rd@cdn.example/seg_00002.ts?token=t0ken"
    playlist.write_text(playlist.read_text().replace("seg_00002.ts", elsewhere))
    found = look(playlist)
    assert [s["action"] for s in found["segments"]] == ["kept", "left out", "left out"]
    assert "folder: data:..." in found["segments"][1]["problems"][0]
    assert found["segments"][2]["uri"] == "https://cdn.example/seg_00002.ts?..."
    for secret in ("passw0rd", "t0ken", "c2VjcmV0"):
        assert secret not in json.dumps(found)


def test_a_master_playlist(clips: Clips, tmp_path: Path) -> None:
    found = look(master(clips, tmp_path / "in"))
    listed = found["master"]
    assert [v["chosen"] for v in listed["variants"]] == [False, True]
    assert "none.m3u8" in listed["variants"][0]["problem"]
    assert listed["why"] == "the best that can be read"
    assert [(s["name"], s["kept"]) for s in listed["sounds"]] == [
        ("English", True),
        ("Deutsch", True),
    ]
    assert listed["sounds"][0]["uri"] == "en/stream.m3u8?..."
    words, better = listed["dropped"]
    assert words == "subtitles 'Words'"
    assert better.startswith("variant of 1280x720 at 9000 bit/s: There is no playlist at ")
    assert [p["name"] for p in found["playlists"]] == ["", "English", "Deutsch"]
    assert "de/stream.m3u8" in found["playlists"][2]["problem"]
    assert {s["playlist"] for s in found["segments"]} == {0, 1, 2}
    (sound,) = found["timeline"]["sound"]
    assert (sound["playlist"], sound["per_segment_min_s"]) == (1, None)
    assert abs(sound["begins_later_s"]) < 0.1


def test_a_change_of_resolution(clips: Clips, tmp_path: Path) -> None:
    found = look(other_size(clips, tmp_path))
    sizes = [
        (s["width"], s["first_segment"])
        for s in found["playlists"][0]["streams"]
        if s["kind"] == "video"
    ]
    assert sizes == [(128, 0), (256, 2)]


def test_what_would_fail_is_described_as_far_as_it_was_read(clips: Clips, tmp_path: Path) -> None:
    found = look(gone(clips, tmp_path / "in"))
    assert "No segment" in found["verdict"]["reason"]
    assert found["playlists"][0]["segments"]["count"] == 2
    assert found["chunks"] == found["segments"] == []


# --- the command -------------------------------------------------------------------------------


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(
        cli.main, ["inspect", *map(str, arguments)], env={"RETRY_DELAY": "0s"}
    )


def test_the_table(clips: Clips, tmp_path: Path) -> None:
    shown = run(clips(SMALL), "--segments")
    assert shown.exit_code == 0, shown.stderr
    for words in ("MPEG-TS", "h264", "128x72", "seg_00001.ts", "would be completed (4."):
        assert words in shown.stdout
    assert "Gaps" not in shown.stdout
    with_gaps = run(damaged(clips, tmp_path / "in"))
    assert with_gaps.exit_code == 3
    assert "would be completed, with gaps" in with_gaps.stdout
    assert "is not there" in with_gaps.stdout
    assert "seg_00002.ts" not in with_gaps.stdout


def test_json_is_the_same_report(clips: Clips) -> None:
    shown = run(clips(SMALL), "--json")
    assert shown.exit_code == 0
    assert json.loads(shown.stdout) == look(clips(SMALL))


def test_what_would_fail(clips: Clips, tmp_path: Path) -> None:
    shown = run(gone(clips, tmp_path / "in"))
    assert shown.exit_code == 1
    (line,) = shown.stderr.splitlines()
    assert line.startswith(f"vodray: {tmp_path / 'in' / 'stream.m3u8'} would fail: No segment of")
    assert "would fail" in shown.stdout


@pytest.mark.parametrize("text", ["", "<html></html>", "#EXTM3U\n"])
def test_what_is_no_playlist(text: str, tmp_path: Path) -> None:
    path = tmp_path / "stream.m3u8"
    path.write_text(text)
    for options in ([], ["--json"]):
        shown = run(path, *options)
        assert shown.exit_code == 1
        assert len(shown.stderr.splitlines()) == 1
        if options:
            assert json.loads(shown.stdout)["verdict"]["outcome"] == "failed"
    missing = run(tmp_path / "none.m3u8")
    assert missing.stderr == f"vodray: There is no playlist at {tmp_path / 'none.m3u8'}\n"


def test_nothing_from_outside_is_markup_or_a_control_character(
    clips: Clips, tmp_path: Path
) -> None:
    playlist = copy_clip(clips(SMALL), tmp_path / "in")
    name = "[red]\x1b[31m\u009b2J\u202e.ts"
    shutil.copy(bending.paths(playlist)[1], playlist.parent / name)
    playlist.write_text(playlist.read_text().replace("seg_00001.ts", name))
    for options in (["--segments"], ["--json"]):
        shown = run(playlist, *options)
        assert not any(c in shown.stdout for c in "\x1b\u009b\u202e")
        assert "[red]" in shown.stdout


def test_a_live_playlist_is_taken_as_it_stands(clips: Clips, tmp_path: Path) -> None:
    playlist = copy_clip(clips(SMALL), tmp_path / "in")
    playlist.write_text(playlist.read_text().replace("#EXT-X-ENDLIST", ""))
    with served(playlist.parent) as url:
        shown = run(f"{url}/stream.m3u8?token=secret")
    assert shown.exit_code == 0, shown.stderr
    assert "it may still grow" in shown.stdout
    assert "stream.m3u8?..." in shown.stdout
