"""One recording whose source is captured and whose chunks are planned in this process."""

import asyncio
from collections.abc import Iterable
from uuid import UUID

from actors.capture import Capture
from actors.depot import Depot
from actors.find_source import LOOKS_PER_S
from actors.loops import Turns
from actors.submit import Submit
from actors.supervisor import Supervisor
from pipeline.model import Recording
from pipeline.settings import Settings
from pipeline.source import Source
from pipeline.stores.catalog import Catalog
from pipeline.stores.objects import ObjectStore


async def record_alone(
    recording_id: UUID,
    *,
    catalog: Catalog,
    sources: Iterable[Source],
    results: ObjectStore,
    bucket: str,
    submit: Submit,
    slots: int,
    settings: Settings,
    may_grow: bool,
) -> Recording:
    """Record until it is final. ``may_grow``: whether a playlist without ENDLIST is followed;
    ``submit``, ``slots``: the workers."""
    supervisor = Supervisor(
        recording_id,
        catalog=catalog,
        results=results,
        bucket=bucket,
        sources=lambda _: sources,
        submit=submit,
        slots=slots,
        settings=settings,
    )
    depot = Depot(results, bucket, settings)
    capture = Capture(
        await catalog.get(recording_id),
        catalog=catalog,
        sources=lambda _: sources,
        depot=depot,
        settings=settings,
        turns=Turns(LOOKS_PER_S),
        may_grow=may_grow,
        on_news=supervisor.wake,
    )
    supervising = asyncio.create_task(supervisor.run())
    capturing = asyncio.create_task(capture.run())
    try:
        # Nothing is captured for a recording that is final.
        await asyncio.wait({supervising, capturing}, return_when=asyncio.FIRST_COMPLETED)
        if capturing.done():
            capturing.result()
        return await supervising
    finally:
        for task in (supervising, capturing):
            task.cancel()
        await asyncio.gather(supervising, capturing, return_exceptions=True)
        depot.close()
