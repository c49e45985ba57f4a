"""Events arrive twice, late, out of order, by webhook and by Kafka: one broadcast is one
recording."""

import time
from pathlib import Path

import pytest

from tests.e2e.conftest import NewBroadcast
from tests.e2e.world import Broadcast, Json, World, eventually, instant, live_so_far
from tests.media import Form, frame_numbers

pytestmark = pytest.mark.timeout(240)

SIX_S = list(range(150))
LATER = Form(seconds=6, first_frame=1000)
# How the same broadcast may be announced; each entry is sent as it stands, duplicates and all.
ORDERS = {
    "as it happens": [
        "started",
        "start",
        "started",
        "start",
        "ended",
        "process",
        "ended",
        "process",
    ],
    "Kafka first": ["start", "start", "process", "process", "started", "ended", "ended", "started"],
    "end first": ["ended", "process", "started", "start", "started", "ended", "process", "start"],
    "starts last": ["process", "ended", "process", "ended", "start", "started", "start", "started"],
}


def announce(live: Broadcast, what: str, times: dict[str, str]) -> None:
    if what in ("started", "ended"):
        live.tell(what, timestamp=times[what])
    else:
        live.task(what, timestamp=times[what])


def when_all_is_decided(world: World, broadcast: NewBroadcast) -> None:
    """Tasks are taken in order: when one that was sent now is done, those before it are decided."""
    last = broadcast()
    last.show_whole()
    last.task("process")
    last.completed()


def numbers(world: World, recording: Json, folder: Path) -> list[int]:
    return frame_numbers(world.fetch(recording, folder))


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
def test_one_broadcast_is_one_recording(
    order: list[str], world: World, broadcast: NewBroadcast, tmp_path: Path
) -> None:
    live = broadcast()
    # Kafka's producer stamps its messages a little later than the webhook's sender.
    times = {
        "started": instant(-8),
        "start": instant(-7.8),
        "ended": instant(),
        "process": instant(0.2),
    }
    live.show_whole()
    for what in order:
        announce(live, what, times)
    done = live.completed()
    (first,) = world.objects(f"{live.key}.mp4").values()

    for what in order:
        announce(live, what, times)
    when_all_is_decided(world, broadcast)
    assert live.completed() == done
    assert world.objects(f"{live.key}.mp4") == {first.key: first}
    assert [key for key in world.objects(live.key) if key.endswith(".mp4") and "/" not in key] == [
        first.key
    ]
    assert numbers(world, done, tmp_path) == SIX_S


def test_a_later_broadcast_under_the_same_key(
    world: World, broadcast: NewBroadcast, tmp_path: Path
) -> None:
    first = broadcast()
    first.show_whole()
    first.tell("started", timestamp=instant(-8))
    first.tell("ended")
    done = first.completed()
    notes = f"{first.key}/recording.json"
    before = {key: info for key, info in world.objects(first.key).items() if key != notes}
    content = world.fetch(done, tmp_path / "before").read_bytes()

    second = broadcast(LATER, key=first.key, stream_id=first.stream_id)
    begin = instant(60)
    second.tell("started", timestamp=begin)
    # For a while the bucket still holds what is recorded already.
    eventually(lambda: len(world.recordings(first.stream_id)) == 2)
    time.sleep(2)
    assert [r["status"] for r in world.recordings(first.stream_id)] == ["recording", "completed"]
    second.show(1)
    second.show(1)
    second.show(ended=True)
    second.tell("ended", timestamp=instant(70))
    newest, oldest = first.finished(count=2)

    assert oldest == done
    after = world.objects(first.key)
    assert {key: after[key] for key in before} == before
    assert world.fetch(done, tmp_path / "after").read_bytes() == content
    stamp = begin[:19].replace("-", "").replace(":", "") + "Z"
    assert newest["status"] == "completed", newest["error"]
    assert newest["file_path"] == f"{world.bucket}/{first.key}_{stamp}.mp4"
    assert numbers(world, newest, tmp_path) == [1000 + n for n in SIX_S]
    assert first.left_behind() == []


def test_a_later_broadcast_in_the_same_playlist(
    world: World, broadcast: NewBroadcast, tmp_path: Path
) -> None:
    live = broadcast()
    live.show(2)
    live.tell("started", timestamp=instant(-8))
    live.tell("ended")
    assert numbers(world, live.completed(), tmp_path) == SIX_S[:100]
    live.tell("started", timestamp=instant(60))
    eventually(lambda: len(world.recordings(live.stream_id)) == 2)
    time.sleep(3)
    live.show(ended=True)
    live.tell("ended", timestamp=instant(70))
    newest, _ = live.finished(count=2)
    assert newest["status"] == "completed", newest["error"]
    assert numbers(world, newest, tmp_path) == SIX_S[100:]


def test_an_announced_broadcast_that_never_comes_does_not_repeat_the_last(
    world: World, broadcast: NewBroadcast
) -> None:
    live = broadcast()
    live.show_whole()
    live.tell("started", timestamp=instant(-8))
    live.tell("ended")
    done = live.completed()
    live.tell("started", timestamp=instant(60))
    newest, oldest = live.finished(count=2)
    assert oldest == done
    assert newest["status"] == "failed"
    assert "recorded already" in newest["error"]
    assert live.left_behind() == []


def test_an_end_without_a_start_records_the_whole_stream(
    world: World, broadcast: NewBroadcast, tmp_path: Path
) -> None:
    live = broadcast()
    live.show_whole()
    live.tell("ended")
    done = live.completed()
    assert done["duration"] == 6
    assert numbers(world, done, tmp_path) == SIX_S


def test_kafka_names_only_the_playlist(
    world: World, broadcast: NewBroadcast, tmp_path: Path
) -> None:
    live = broadcast()
    live.show_whole()
    live.task(None)
    done = live.completed()
    assert done["file_path"] == f"{world.bucket}/{live.stream_id}.mp4"
    assert numbers(world, done, tmp_path) == SIX_S


def test_kafka_names_only_the_stream(world: World, broadcast: NewBroadcast, tmp_path: Path) -> None:
    live = broadcast()
    live.folder = live.stream_id
    live.show_whole()
    world.task(live.stream_id, "record")
    assert numbers(world, live.completed(), tmp_path) == SIX_S


def test_a_stream_under_its_id_instead_of_its_key(
    world: World, broadcast: NewBroadcast, tmp_path: Path
) -> None:
    live = broadcast()
    live.folder = live.stream_id
    live.show(1)
    live.tell("started")
    live.show_whole()
    live.tell("ended")
    assert numbers(world, live.completed(), tmp_path) == SIX_S


def test_a_playlist_that_appears_after_the_start_was_told(
    world: World, broadcast: NewBroadcast, tmp_path: Path
) -> None:
    live = broadcast()
    live.tell("started")
    live.recording()
    time.sleep(2)
    live.show_whole()
    # Nobody tells the end: the playlist does.
    assert numbers(world, live.completed(), tmp_path) == SIX_S


def test_a_stream_that_stops_without_a_word(
    world: World, broadcast: NewBroadcast, tmp_path: Path
) -> None:
    live = broadcast()
    live.show()
    live.tell("started")
    assert numbers(world, live.completed(), tmp_path) == SIX_S


def test_a_stream_that_is_back_within_the_window_continues(
    world: World, broadcast: NewBroadcast, tmp_path: Path
) -> None:
    live = broadcast()
    live.show(1)
    live.tell("started", timestamp=instant(-4))
    live.recording()
    live.show(1)
    live.tell("ended", timestamp=instant(-2))
    live.tell("started", timestamp=instant())
    live.show_whole()
    live.tell("ended", timestamp=instant(2))
    done = live.completed()
    assert done["duration"] == 6
    assert numbers(world, done, tmp_path) == SIX_S


@pytest.mark.parametrize(
    "ended",
    [
        pytest.param(True, marks=pytest.mark.soak, id="ENDLIST"),
        pytest.param(False, id="no ENDLIST"),
    ],
)
def test_a_stream_that_is_back_when_its_recording_is_completed_continues_it(
    ended: bool, world: World, broadcast: NewBroadcast, tmp_path: Path
) -> None:
    """By another life of the encoder, whose playlist takes the place of the first one's."""
    first = broadcast()
    first.show(3, ended=ended)
    first.tell("started", timestamp=instant(-8))
    back = instant(4)
    first.tell("ended", timestamp=instant())
    done = first.completed()

    second = broadcast(LATER, key=first.key, stream_id=first.stream_id)
    second.tell("started", timestamp=back)
    again = eventually(
        lambda: first.recording() if first.recording()["status"] != "completed" else {}
    )
    assert (again["id"], again["status"]) == (done["id"], "recording")
    assert again["file_path"] == done["file_path"]
    assert numbers(world, done, tmp_path / "first") == SIX_S
    for _ in range(2):
        second.show(1)
    eventually(lambda: first.recording()["duration"] >= 8)
    if not ended:
        # What was complete when it was first seen is read where it is, and that has changed.
        shown = live_so_far(world, done["id"], tmp_path / "live")
        assert frame_numbers(shown)[: len(SIX_S) + 1] == [*SIX_S, 1000]
    second.show(ended=True)
    second.tell("ended", timestamp=instant(10))
    whole = second.completed()

    assert whole["id"] == done["id"]
    assert (whole["duration"], whole["gaps"]) == (12, [])
    assert numbers(world, whole, tmp_path / "whole") == [*SIX_S, *(1000 + n for n in SIX_S)]
    assert first.left_behind() == []
    eventually(lambda: not world.objects(f".vodray/{done['id']}/"), within_s=60)
