"""What this process has counted, handed to the pool, which has the totals of the cluster.

A process that is killed loses what it has counted since the last time. Workers need none of this:
their counts come with their answers.
"""

import asyncio
from typing import Any

import ray
import structlog

from actors import names
from actors.faults import actor_errors
from pipeline.errors import WorkerLost
from pipeline.metrics import COUNTS

_EVERY_S = 5.0
_TIMEOUT_S = 2.0

log = structlog.get_logger()


async def hand_on_for_ever() -> None:
    while True:
        await asyncio.sleep(_EVERY_S)
        await hand_on()


async def hand_on() -> None:
    """Never fails. What the pool has not got is handed on the next time; without Ray there is
    none, and nobody to ask."""
    counted = COUNTS.take() if ray.is_initialized() else {}
    if not counted:
        return
    try:
        pool: Any = ray.get_actor(names.POOL, namespace=names.NAMESPACE)
        with actor_errors("the pool"):
            async with asyncio.timeout(_TIMEOUT_S):
                await pool.count.remote(counted)
    except TimeoutError:
        # It is on its way: a second one would count twice.
        return
    except (WorkerLost, ValueError, ray.exceptions.RayError) as error:
        COUNTS.add(counted)
        log.debug("counts_wait", error=str(error))
