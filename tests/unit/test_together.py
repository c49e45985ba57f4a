"""Calls that are served together: answers, order, errors, and whoever goes away."""

import asyncio
from collections.abc import Sequence

from pipeline.stores.together import Together


class Away(Exception):
    pass


class Server:
    """Doubles numbers, a moment later; -1 is refused, -2 finds it away. ``served``: what was asked
    together."""

    def __init__(self) -> None:
        self.served: list[list[int]] = []

    async def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.served.append(list(numbers))
        await asyncio.sleep(0.01)
        if -2 in numbers:
            raise Away
        if -1 in numbers:
            raise ValueError("no such number")
        return [2 * number for number in numbers]


async def ask(together: Together[int, int], numbers: Sequence[int]) -> list[object]:
    calls = (together.call(number) for number in numbers)
    return list(await asyncio.gather(*calls, return_exceptions=True))


async def test_what_comes_meanwhile_is_served_together() -> None:
    server = Server()
    together = Together(server, shared=Away)
    assert await ask(together, range(500)) == [2 * number for number in range(500)]
    assert [len(numbers) for numbers in server.served] == [200, 200, 100]
    assert [n for numbers in server.served for n in numbers] == list(range(500))
    assert await together.call(7) == 14


async def test_an_error_is_of_the_one_that_has_it() -> None:
    together = Together(Server(), shared=Away)
    answers = await ask(together, [1, -1, 3])
    assert answers[0::2] == [2, 6]
    assert isinstance(answers[1], ValueError)


async def test_a_server_that_is_away_is_not_asked_for_each() -> None:
    server = Server()
    answers = await ask(Together(server, shared=Away), [1, -2, 3])
    assert all(isinstance(answer, Away) for answer in answers)
    assert len(server.served) == 1


async def test_who_goes_away_holds_up_nobody() -> None:
    together = Together(Server(), shared=Away)
    gone = asyncio.create_task(together.call(1))
    stays = asyncio.create_task(together.call(2))
    await asyncio.sleep(0)
    gone.cancel()
    assert await stays == 4


async def test_nobody_waits_for_one_that_is_closed() -> None:
    together = Together(Server(), shared=Away)
    calls = [asyncio.create_task(together.call(number)) for number in range(300)]
    await asyncio.sleep(0)
    await together.close()
    done = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 1)
    assert all(isinstance(answer, asyncio.CancelledError) for answer in done)
