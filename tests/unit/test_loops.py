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


async def test_turns_that_nobody_took_are_not_saved_up() -> None:
    turns = Turns(per_s=50)
    await turns.wait()
    await asyncio.sleep(0.2)
    begin = time.monotonic()
    for _ in range(4):
        await turns.wait()
    assert time.monotonic() - begin >= 3 / 50
