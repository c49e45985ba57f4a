"""Work that goes on until it is told to stop, whatever happens to the services that it needs."""

import asyncio
import heapq
import itertools
import logging
import random
from collections.abc import Awaitable, Callable, Iterator

from pipeline.errors import VodrayError

FIRST_DELAY_S = 0.25
MAX_DELAY_S = 5.0
# A session that lived this long was a success: the next failure is a new one.
STEADY_S = 30.0
CLOSE_S = 2.0
_REST, _SHORT_S = 4.0, 0.05

log = logging.getLogger(__name__)


def backoff() -> Iterator[float]:
    """Seconds to wait before each further attempt: doubling, with jitter, never above the bound."""
    delay = FIRST_DELAY_S
    while True:
        yield delay * random.uniform(0.75, 1.25)
        delay = min(2 * delay, MAX_DELAY_S / 1.25)


async def pause(wake: asyncio.Event, seconds: float) -> bool:
    """Wait until ``wake`` is set or ``seconds`` have passed; whether it is set."""
    try:
        async with asyncio.timeout(seconds):
            await wake.wait()
    except TimeoutError:
        return wake.is_set()
    return True


async def rest(worked_s: float) -> None:
    """Behind work that looks at everything whenever there is news: where that is much, and news
    come one upon the other, others need the processor too."""
    await asyncio.sleep(min(_REST * max(0.0, worked_s - _SHORT_S), MAX_DELAY_S))


class Turns:
    """One after the other, so many a second at most, where many want the same: who comes again
    lets those go first who have not had one."""

    def __init__(self, per_s: float) -> None:
        self._every_s, self._next = 1 / per_s, 0.0
        self._waiting: list[tuple[bool, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self, *, again: bool = False) -> None:
        """At once where nobody waits, or has just had one."""
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (again, next(self._numbers), turn))
        if self._timer is None:
            self._give()
        await turn

    def _give(self) -> None:
        loop, self._timer = asyncio.get_running_loop(), None
        while self._waiting and loop.time() >= self._next:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                self._next = loop.time() + self._every_s
        if self._waiting:
            self._timer = loop.call_at(self._next, self._give)


def is_cancelled() -> bool:
    """Whether the current task was asked to end, and not only something that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class RetryingLoop:
    """Runs ``session`` again and again; after an error it waits, longer each time.

    A session returns when ``stopping`` is set. ``last_error`` says why the last one failed, and
    is None again once the session calls ``succeeded``.
    """

    def __init__(self, name: str, session: Callable[[], Awaitable[None]]) -> None:
        self._name = name
        self._session = session
        self._task: asyncio.Task[None] | None = None
        self.stopping = asyncio.Event()
        self.last_error: str | None = None

    @property
    def is_running(self) -> bool:
        return self._task is not None and not self._task.done()

    def succeeded(self) -> None:
        self.last_error = None

    async def run(self) -> None:
        """Returns after ``stop``. A call while it runs returns at once."""
        if self.is_running:
            return
        self._task = asyncio.create_task(self._repeat(), name=self._name)
        try:
            await asyncio.wait({self._task})
        except asyncio.CancelledError:
            await self._cut_off()
            raise

    async def stop(self, grace_s: float) -> None:
        """Let the session finish what it has in hand; cut it off after ``grace_s`` seconds."""
        self.stopping.set()
        if self._task is None:
            return
        _, unfinished = await asyncio.wait({self._task}, timeout=grace_s)
        if unfinished:
            log.warning("%s did not stop within %s s and is cut off", self._name, grace_s)
            await self._cut_off()

    async def _cut_off(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=CLOSE_S)

    async def _repeat(self) -> None:
        delays = backoff()
        clock = asyncio.get_running_loop().time
        while not self.stopping.is_set():
            began = clock()
            try:
                await self._session()
            except VodrayError as error:
                self._note(str(error))
            except asyncio.CancelledError as error:
                if is_cancelled():
                    raise
                self._note("something that it waited for was cancelled", error)
            except Exception as error:  # noqa: BLE001 - the loop must outlive an error of ours
                self._note(f"unexpected {type(error).__name__}", error)
            if clock() - began > STEADY_S:
                delays = backoff()
            await pause(self.stopping, next(delays))

    def _note(self, message: str, unexpected: BaseException | None = None) -> None:
        if message != self.last_error:
            log.warning("%s: %s; trying again", self._name, message, exc_info=unexpected)
        self.last_error = message
