"""An event loop in a thread of its own, for servers of tests that are not asynchronous."""

import asyncio
from collections.abc import Coroutine
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")
_CALL_S = 10.0
_BEGIN_S = 0.02


class LoopThread:
    """Runs from construction until ``close``."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of ``work``, which must come within 10 s."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_S)

    def cancel(self) -> None:
        """Whatever runs."""
        self.call(self._cancel_all())

    def close(self) -> None:
        """Cancel what still runs, and end."""
        self.cancel()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CALL_S)
        self._loop.close()

    @staticmethod
    async def _cancel_all() -> None:
        # A task that is cancelled before its first step cannot close what it was given.
        await asyncio.sleep(_BEGIN_S)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.get_running_loop().shutdown_asyncgens()
