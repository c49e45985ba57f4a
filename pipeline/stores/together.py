"""Calls that come while one is served, served together by the next: a transaction costs about the
same for one event and for a hundred."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")

_MOST = 200


class Together(Generic[Asked, Answer]):
    """``serve`` answers all or raises, and what has raised may be asked again: each alone then, so
    that one costs no other its answer; but for ``shared``, an error that is of none of them.

    Answers come in the order of the calls.
    """

    def __init__(
        self,
        serve: Callable[[Sequence[Asked]], Awaitable[Sequence[Answer]]],
        shared: type[Exception],
    ) -> None:
        self._serve, self._shared = serve, shared
        self._waiting: deque[tuple[Asked, asyncio.Future[Answer]]] = deque()
        self._serving: asyncio.Task[None] | None = None

    async def call(self, asked: Asked) -> Answer:
        """The answer; raises what ``serve`` raises for this one alone."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, answer))
        if self._serving is None:
            self._serving = asyncio.create_task(self._run())
        return await answer

    async def close(self) -> None:
        """Whoever waits gets no answer."""
        if self._serving is not None:
            self._serving.cancel()
            with suppress(asyncio.CancelledError):
                await self._serving
        while self._waiting:
            self._waiting.popleft()[1].cancel()

    async def _run(self) -> None:
        try:
            while self._waiting:
                count = min(_MOST, len(self._waiting))
                await self._answer([self._waiting.popleft() for _ in range(count)])
        finally:
            self._serving = None

    async def _answer(self, calls: Sequence[tuple[Asked, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._serve([asked for asked, _ in calls])
        except asyncio.CancelledError:
            for _, future in calls:
                future.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - it is told to who asked
            if len(calls) > 1 and not isinstance(error, self._shared):
                for call in calls:
                    await self._answer([call])
                return
            for _, future in calls:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), answer in zip(calls, answers, strict=True):
            # Who asked may have gone.
            if not future.done():
                future.set_result(answer)
