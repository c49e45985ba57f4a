"""Many that want the same one after the other."""

import asyncio
import time

from actors.loops import Turns


async def test_the_first_has_its_turn_at_once() -> None:
    turns = Turns(per_s=0.1)
    async with asyncio.timeout(1):
        await turns.wait()


async def test_many_have_so_many_turns_a_second() -> None:
    turns, begin = Turns(per_s=100), time.monotonic()
    had: list[float] = []

    async def one() -> None:
        await turns.wait()
        had.append(time.monotonic() - begin)

    await asyncio.gather(*(one() for _ in range(50)))
    assert all(at >= number / 100 for number, at in enumerate(had))
    assert had[-1] < 5


async def test_who_comes_again_lets_the_others_go_first() -> None:
    turns, had = Turns(per_s=50), list[str]()

    async def one(name: str, *, again: bool) -> None:
        await turns.wait(again=again)
        had.append(name)

    await turns.wait()
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        for name in ("a", "b"):
            tasks.create_task(one(name, again=True))
        await asyncio.sleep(0)
        for name in ("c", "d"):
            tasks.create_task(one(name, again=False))
    assert had == ["c", "d", "a", "b"]


async def test_who_waits_no_more_costs_no_turn() -> None:
    turns = Turns(per_s=2)
    await turns.wait()
    gone = [asyncio.ensure_future(turns.wait()) for _ in range(20)]
    await asyncio.sleep(0)
    for one in gone:
        one.cancel()
    async with asyncio.timeout(2):
        await turns.wait()


async def test_turns_that_nobody_took_are_not_saved_up() -> None:
    turns = Turns(per_s=50)
    await turns.wait()
    await asyncio.sleep(0.2)
    begin = time.monotonic()
    for _ in range(4):
        await turns.wait()
    assert time.monotonic() - begin >= 3 / 50
