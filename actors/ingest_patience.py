"""What a stream needs done, done however long a store is away."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from actors.loops import backoff
from pipeline.errors import CatalogUnavailable, StoreError

T = TypeVar("T")

log = structlog.get_logger()


async def patiently(who: str, call: Callable[[], Awaitable[T]]) -> T:
    """The call's result. What waits meanwhile is on disk; also for an error that nobody knows:
    nobody else would try again."""
    for pause_s in backoff():
        try:
            return await call()
        except (StoreError, CatalogUnavailable) as error:
            log.warning("ingest_store_away", stream=who, error=str(error))
        except Exception:
            log.exception("ingest_failed", stream=who)
        await asyncio.sleep(pause_s)
    raise AssertionError("unreachable")
