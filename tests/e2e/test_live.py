"""A stream that grows while it is recorded, announced by webhook: what comes out, and what the
platform sees meanwhile."""

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import NewBroadcast
from tests.e2e.world import Json, World, check_media, eventually, live_so_far
from tests.media import (
    Form,
    assert_same_packets,
    frame_numbers,
    frame_times,
    remux_with_ffmpeg,
)
from tests.range_server import served

pytestmark = pytest.mark.timeout(240)

FORMS = {"ts": Form(seconds=12), "fmp4": Form(seconds=12, container="fmp4")}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_a_live_stream_becomes_a_vod(
    form: Form, world: World, broadcast: NewBroadcast, tmp_path: Path
) -> None:
    live = broadcast(form)
    live.show(1)
    live.tell("started")
    recording = live.recording()
    assert recording["status"] == "recording"
    with world.listening(recording["id"]) as events:
        lengths = []
        while live.shown < 5:
            live.show(1)
            lengths.append(_longer(world, recording["id"], lengths[-1] if lengths else 0))
        shown = live_so_far(world, recording["id"], tmp_path / "live")
        assert frame_numbers(shown) == list(range(5 * 50))
        live.show(ended=True)
        live.tell("ended")
        done = live.completed()
    # Who watches it live is some segments behind: for them it is there, with its end.
    over = world.http.get(f"/recordings/{done['id']}/live.m3u8")
    assert over.text.endswith("#EXT-X-ENDLIST\n")
    shown = live_so_far(world, done["id"], tmp_path / "over")
    assert frame_numbers(shown) == list(range(6 * 50))

    assert _states(events) == ["recording", "processing", "completed"]
    assert events[-1] == done
    assert _messages(world, done) == ["recording", "processing", "completed"]
    assert (done["duration"], done["gaps"]) == (12, [])
    assert done["file_path"] == f"{world.bucket}/{live.key}.mp4"
    assert done["user_id"] == "u1"
    _check_report(world.report(done), done)
    _check_result(world.fetch(done, tmp_path), live.playlist, done, tmp_path)


def _longer(world: World, recording_id: str, than: int) -> int:
    """The duration while recording, once it has grown."""

    def look() -> int:
        recording: Json = world.http.get(f"/recording/{recording_id}").json()["recording"]
        assert recording["status"] == "recording"
        return recording["duration"] if recording["duration"] > than else 0

    return eventually(look, within_s=20)


def _states(events: list[Json]) -> list[str]:
    """Each state once, in the order in which they came."""
    return list(dict.fromkeys(event["status"] for event in events))


def _messages(world: World, recording: Json) -> list[str]:
    def of_this(records: list[object]) -> list[Json]:
        values = [json.loads(record.value) for record in records]
        return [value for value in values if value["recording_id"] == recording["id"]]

    records = world.messages(
        "recording.events",
        lambda records: any(m["status"] == "completed" for m in of_this(records)),
    )
    told = of_this(records)
    assert told[-1]["file_path"] == recording["file_path"]
    assert told[-1]["file_size"] == recording["file_size"]
    return [message["status"] for message in told]


def _check_report(report: Json, recording: Json) -> None:
    assert report["verified"] is True
    assert report["frames_in"] == report["frames_out"] > 0
    assert (report["segments"], report["segments_lost"]) == (6, 0)
    assert report["checks"]["object_bytes"] == recording["file_size"]
    assert report["checks"]["borders_failed"] == 0


def _check_result(mp4: Path, playlist: Path, recording: Json, folder: Path) -> None:
    assert mp4.stat().st_size == recording["file_size"]
    check_media(mp4)
    assert_same_packets(
        mp4, remux_with_ffmpeg(playlist, folder / "reference.mp4"), tolerance_s=1.5 / 48_000
    )
    assert frame_numbers(mp4) == list(range(300))
    assert frame_numbers(mp4.with_suffix("") / "master.m3u8") == list(range(300))
    # FFmpeg 9 reads only the first of several byte ranges over HTTP, also of playlists of its own.
    with served(folder) as url:
        assert list(frame_times(f"{url}/{mp4.stem}/master.m3u8")) == list(range(300))
    for name in ("poster", "storyboard-001"):
        image = (mp4.with_suffix("") / f"{name}.jpg").read_bytes()
        assert image[:3] == b"\xff\xd8\xff"
        assert image[-2:] == b"\xff\xd9"
    vtt = (mp4.with_suffix("") / "storyboard.vtt").read_text()
    assert vtt.count("storyboard-001.jpg#xywh=") == 12
    assert recording["thumbnail_path"].endswith(f"{mp4.stem}/poster.jpg")
