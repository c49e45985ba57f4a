"""What the stream service's answers tell, and that nothing else is made of them."""

import json
from asyncio import create_task, sleep, timeout
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from actors.stream_status import StreamStatus
from pipeline.errors import InvalidTask
from pipeline.model import EndReason, EventKind, Recording, Status, StreamEvent
from pipeline.stores.catalog_memory import MemoryCatalog
from pipeline.stream_status import LiveStream, Watched, advance, parse_status
from tests.hazards.unreliable import unreliable
from tests.local_pool import quick_settings

T0 = datetime(2026, 1, 1, tzinfo=UTC)
A = LiveStream(stream_id="a", stream_key="k")
RECORDING = Recording(
    id=UUID(int=1),
    stream_id="x",
    stream_key="k",
    status=Status.RECORDING,
    started_at=T0,
    created_at=T0,
    updated_at=T0,
)
ENDED = replace(RECORDING, ended_at=T0, end_reason=EndReason.EVENT)


def told(
    *answers: tuple[Sequence[LiveStream], Sequence[Recording]],
) -> list[list[tuple[str, float]]]:
    """What each answer tells, one every 10 s: kind, and seconds since the first."""
    watched, found = Watched(), []
    for number, (live, unfinished) in enumerate(answers):
        now = T0 + timedelta(seconds=10 * number)
        watched, events = advance(watched, live, unfinished, now)
        found.append([(e.kind.value, (e.occurred_at - T0).total_seconds()) for e in events])
    return found


def test_a_start_that_was_missed_is_told_once_when_it_is_listed_twice() -> None:
    assert told(([A], []), ([A], []), ([A], [])) == [[], [("started", 0)], []]


def test_the_time_of_the_start_is_the_services() -> None:
    early = replace(A, started_at=T0 - timedelta(seconds=7))
    assert told(([early], []), ([early], [])) == [[], [("started", -7)]]


def test_what_is_recorded_is_not_started_again() -> None:
    """Nor when its recording is final and the service still lists it."""
    assert told(([A], []), ([A], [RECORDING]), ([A], []), ([A], [])) == [[], [], [], []]


def test_an_end_is_told_when_two_answers_lack_it() -> None:
    nothing: list[LiveStream] = []
    live, gone = ([A], [RECORDING]), (nothing, [RECORDING])
    assert told(live, gone, live, gone, gone, gone) == [[], [], [], [], [("ended", 40)], []]


def test_what_was_never_listed_or_has_ended_is_not_ended() -> None:
    assert told(([], [RECORDING]), ([], [RECORDING])) == [[], []]
    assert told(([A], [RECORDING]), ([], [ENDED]), ([], [ENDED])) == [[], [], []]
    assert told(([A], [RECORDING]), ([], []), ([], [])) == [[], [], []]


def test_answers_are_read() -> None:
    one = {
        "stream_id": "a",
        "stream_key": "k",
        "status": "live",
        "started_at": "2026-01-01T00:00:00Z",
    }
    other = {"stream_id": "b", "status": "live", "stream_key": None, "bitrate": 7}
    waiting = {"stream_id": "c", "status": "waiting"}
    wanted = (replace(A, started_at=T0), LiveStream(stream_id="b"))
    for answer in ({"streams": [one, other, waiting]}, [one, waiting, other]):
        assert parse_status(json.dumps(answer).encode(), T0) == wanted
    assert parse_status(b'{"streams": []}', T0) == ()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"7",
        b"{}",
        b'{"streams": 7}',
        b'[{"status": "live"}]',
        b'[{"status": "live", "stream_id": "../x"}]',
        b'[{"status": "live", "stream_id": "a", "started_at": "soon"}]',
        b'[{"status": "live", "stream_id": "a", "hls_path": "../../x"}]',
        b"[" * 100_000,
    ],
)
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidTask):
        parse_status(body, T0)


async def test_a_service_that_fails_now_and_then(tmp_path: Path) -> None:
    """Over HTTP, down to a recording in the catalogue."""
    folder = tmp_path / "stream"
    folder.mkdir()
    (folder / "status").write_text('{"streams": [{"stream_id": "a", "status": "live"}]}')
    catalog = MemoryCatalog(reconnect_window=timedelta(0), profile="copy")
    news: list[list[UUID]] = []

    async def on_news(touched: list[UUID]) -> None:
        news.append(touched)

    acts = {"stream/status": ["500", "html", "well", "short", "well"]}
    with unreliable(folder.parent, acts) as server:
        settings = quick_settings(
            stream_service_url=f"{server.origin}/", monitor_interval=timedelta(milliseconds=10)
        )
        asking = create_task(StreamStatus(settings, catalog, on_news).run())
        async with timeout(10):
            while not news:
                await sleep(0.01)
        asking.cancel()
    (recording,) = await catalog.list()
    assert recording.stream_id == "a"
    assert news == [[recording.id]]
    assert server.asked["stream/status"] >= 5


def test_events_say_where_they_are_from() -> None:
    stream = replace(A, user_id="u", hls_path="k/live.m3u8")
    watched, _ = advance(Watched(), [stream], [], T0)
    _, (event,) = advance(watched, [stream], [], T0)
    assert event == StreamEvent(
        kind=EventKind.STARTED,
        stream_id="a",
        stream_key="k",
        user_id="u",
        hls_path="k/live.m3u8",
        occurred_at=T0,
        origin=event.origin,
    )
    assert event.origin == "status"
