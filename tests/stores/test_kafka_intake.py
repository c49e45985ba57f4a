"""Tasks from a real broker: durable before they are committed, and no message holds up the next."""

import asyncio
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline.errors import InvalidTask
from pipeline.kafka_access import KafkaAccess
from serve_app.embedded.kafka import KafkaBroker
from tests.stores.kafka_world import Desk, World, at_work, task, until


async def test_bad_messages_are_put_aside_and_the_next_task_is_served(any_world: World) -> None:
    desk = Desk(refusals={"refused": InvalidTask("no such profile"), "bug": KeyError("x")})
    bad = [b"not json", b"{}", task("s", action="explode"), None, task("refused"), task("bug")]
    intake = any_world.intake(desk)
    async with at_work(intake):
        await until(lambda: intake.status()["running"])
        await any_world.send(*bad, b"x" * 1_000_000, task("good"), partition=0)
        await until(lambda: desk.stream_ids == ["good"] and intake.status()["dead_letters"] == 7)
        letters = sorted(await any_world.dead_letters(7), key=lambda letter: letter.headers[3][1])
        await any_world.until_committed(8)
    assert [dict(letter.headers)["reason"].decode() for letter in letters] == [
        "the value is not JSON: Expecting value at 0",
        "stream_id is missing",
        "action 'explode' is unknown. Known are start, stop, process, record",
        "the message has no value",
        "no such profile",
        "internal error: KeyError",
        "the value is 1000000 bytes, more than 65536",
    ]
    assert [letter.value for letter in letters] == [
        value or b"" for value in (*bad, b"x" * 1_000_000)
    ]
    assert letters[2].headers[1:] == (
        ("original-topic", any_world.topic.encode()),
        ("original-partition", b"0"),
        ("original-offset", b"2"),
    )
    assert desk.pokes > 0


async def test_a_letter_too_large_for_its_topic_is_cut(world: World) -> None:
    size = 17 * 2**20
    desk = Desk()
    async with at_work(world.intake(desk)):
        await asyncio.sleep(0.1)
        await world.send(b"x" * size, task("good"), partition=0)
        await until(lambda: desk.stream_ids == ["good"])
        (letter,) = await world.dead_letters(1)
    assert letter.value == b"x" * 1024
    assert dict(letter.headers)["truncated"] == str(size).encode()


async def test_nothing_is_committed_before_it_is_durable(any_world: World) -> None:
    desk = Desk()
    intake = any_world.intake(desk)
    names = [f"s{n}" for n in range(60)]
    async with at_work(intake):
        await any_world.send(task("first"))
        await until(lambda: desk.stream_ids == ["first"])
        desk.away = True
        await any_world.send(*map(task, names), b"bad")
        await until(lambda: desk.attempts > 40)
        assert intake.status()["error"] == "PostgreSQL is away"
        assert await any_world.committed() <= 1
        desk.away = False
        await until(lambda: len(desk.events) == 61)
        await any_world.until_committed(62)
        assert intake.status() == {
            "running": True,
            "accepted": 61,
            "dead_letters": 1,
            "lag": 0,
            "error": None,
        }
    assert sorted(desk.stream_ids) == sorted(["first", *names])


async def test_the_lag_is_what_is_not_durable_whether_it_was_read_or_not(any_world: World) -> None:
    desk = Desk()
    intake = any_world.intake(desk)
    assert await intake.lag() is None
    async with at_work(intake):
        await any_world.send(*(task(f"a{n}") for n in range(3)))
        await until(lambda: len(desk.events) == 3)
        desk.away = True
        await any_world.send(*(task(f"b{n}") for n in range(7)))
        await until(lambda: desk.attempts > 4)
        assert await intake.lag() == 7
        desk.away = False
        async with asyncio.timeout(10):
            while await intake.lag() != 0:
                await asyncio.sleep(0.05)
    assert await intake.lag() is None


async def test_a_new_process_carries_on_where_the_last_one_was(any_world: World) -> None:
    desk = Desk()
    async with at_work(any_world.intake(desk)):
        await any_world.send(*(task(f"a{n}") for n in range(20)))
        await until(lambda: len(desk.events) == 20)
    assert await any_world.committed() == 20
    await any_world.send(*(task(f"b{n}") for n in range(20)))
    later = Desk()
    async with at_work(any_world.intake(later)):
        await until(lambda: len(later.events) == 20)
        await asyncio.sleep(0.3)
    assert sorted(later.stream_ids) == sorted(f"b{n}" for n in range(20))


async def test_what_was_not_durable_at_the_end_is_read_again(any_world: World) -> None:
    desk = Desk(away=True)
    async with at_work(any_world.intake(desk)):
        await any_world.send(task("s"))
        await until(lambda: desk.attempts > 1)
    assert await any_world.committed() == 0
    later = Desk()
    async with at_work(any_world.intake(later)):
        await until(lambda: later.stream_ids == ["s"])


async def test_events_of_one_stream_stay_in_order(world: World) -> None:
    desk = Desk(delay_s=0.001)
    hours = [f"2025-10-05T{hour:02}:00:00Z" for hour in range(24)]
    async with at_work(world.intake(desk)):
        await world.send(
            *(task(f"s{n}", timestamp=hour) for hour in hours for n in range(8)), partition=0
        )
        await until(lambda: len(desk.events) == 24 * 8)
    for n in range(8):
        mine = [event.occurred_at.hour for event in desk.events if event.stream_id == f"s{n}"]
        assert mine == list(range(24))
    assert 4 < desk.most_at_once <= 16


async def test_two_members_share_the_work_and_lose_nothing(any_world: World) -> None:
    desks = Desk(delay_s=0.005), Desk(delay_s=0.005)
    first, second = (any_world.intake(desk) for desk in desks)
    names: list[str] = []
    enough = asyncio.Event()

    async def send_on() -> None:
        """However soon the second one joins, there is more to come."""
        while not enough.is_set():
            new = [f"s{len(names) + n}" for n in range(40)]
            await any_world.send(*map(task, new), partition=len(names) // 40 % 4)
            names.extend(new)
            await asyncio.sleep(0.1)

    async with at_work(first):
        sending = asyncio.create_task(send_on())
        await until(lambda: len(desks[0].events) > 100)
        async with at_work(second):
            await until(lambda: len(desks[1].events) > 100)
            desks[1].away = True
            await until(lambda: desks[1].attempts > len(desks[1].events))
        enough.set()
        await sending
        await until(lambda: set(desks[0].stream_ids + desks[1].stream_ids) == set(names))
        await any_world.until_committed(len(names))


async def test_an_outage_does_not_hold_up_a_rebalance(any_world: World) -> None:
    # Long enough that neither is held for dead on a busy machine, and loses its half.
    any_world = replace(any_world, session_timeout=timedelta(seconds=4))
    stuck, well = Desk(away=True), Desk()
    first, second = any_world.intake(stuck), any_world.intake(well)
    names = [f"s{n}" for n in range(40)]
    async with at_work(first):
        for partition in range(4):
            await any_world.send(*map(task, names[partition::4]), partition=partition)
        await until(lambda: first.status()["error"] is not None)
        async with at_work(second):
            await until(lambda: len(well.events) == 20, seconds=15)
            assert stuck.events == []
            stuck.away = False
            await until(lambda: len(stuck.events) == 20)
            await any_world.until_committed(40)
    assert {*stuck.stream_ids, *well.stream_ids} == set(names)


async def test_tasks_become_durable_side_by_side(world: World) -> None:
    """5 ms for each to be durable is what a commit to disk takes; one by one is 200 a second."""
    desk = Desk(delay_s=0.005)
    async with at_work(world.intake(desk)):
        await world.send(task("warm"))
        await until(lambda: desk.stream_ids == ["warm"])
        began = time.monotonic()
        await world.send(*(task(f"s{n}") for n in range(4000)), partition=0)
        await until(lambda: len(desk.events) == 4001)
        rate = 4000 / (time.monotonic() - began)
    print(f"{rate:.0f} tasks/s")
    assert rate > 400


async def test_a_broker_that_comes_back_empty_is_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.kafka_intake.QUIET_S", 1.0)
    broker = KafkaBroker(tmp_path / "kafka", tmp_path)
    broker.start()
    desk = Desk()
    world = World(KafkaAccess(brokers=(broker.broker,)))
    intake = world.intake(desk)
    async with at_work(intake):
        await world.send(task("before"))
        await until(lambda: desk.stream_ids == ["before"])
        broker.stop()
        await until(lambda: intake.status()["error"] is not None, seconds=30)
        broker.start()
        try:
            await until(lambda: intake.status()["error"] is None, seconds=30)
            await world.send(task("after"))
            await until(lambda: "after" in desk.stream_ids)
        finally:
            broker.stop()


async def test_it_stops_in_time_while_the_broker_is_away() -> None:
    intake = World(KafkaAccess(brokers=("127.0.0.1:1",))).intake(Desk())
    async with at_work(intake):
        await until(lambda: intake.status()["error"] is not None)
