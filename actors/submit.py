"""Jobs to workers, and again while what is ours is away."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable

import structlog

from actors.fair_queue import Urgency
from actors.loops import backoff
from pipeline.errors import SourceError, StoreError, VodrayError
from pipeline.jobs import Answer, Job
from pipeline.settings import Settings
from pipeline.staging import staged_key
from pipeline.transfer import TransferLimits

Submit = Callable[[Job, str, Urgency], Awaitable[Answer]]

_MAX_PART_BYTES = 5 * 2**30  # of S3
_STORE_LIMITS = TransferLimits(
    timeout_s=120.0, attempts=5, retry_delay_s=1.0, max_bytes=_MAX_PART_BYTES
)
# So long may what is ours be away before a recording is given up by those who work on it,
OUTAGE_S = 3600.0
# and so long may it fail to hand out a thing that it has.
_FAILING_S = 300.0

log = structlog.get_logger()


def store_limits() -> TransferLimits:
    return _STORE_LIMITS


async def submit_patiently(
    submit: Submit, make_job: Callable[[], Job], recording: str, urgency: Urgency
) -> Answer:
    """Submit, and again while what is ours is away. What the source lacks is raised at once.

    ``make_job`` runs in a thread, each time: the first address in a process needs the store.
    """
    give_up = time.monotonic() + OUTAGE_S
    for pause_s in backoff():
        try:
            return await submit(await asyncio.to_thread(make_job), recording, urgency)
        except VodrayError as error:
            is_over = isinstance(error, SourceError) or time.monotonic() >= give_up
            if not error.retry or is_over:
                raise
            log.warning("job_retried", recording=recording, error=str(error))
        await asyncio.sleep(pause_s)
    raise AssertionError("unreachable")


async def source_answers(probe: Callable[[], object], settings: Settings) -> bool:
    """Wait until the source's server answers anything; False if it was away when it was asked
    first, so that a failure before was its own.

    ``probe`` blocks, and raises as ``Source.read_playlist`` does. A server that is not ours is
    waited for as long as a stream that has stalled.
    """
    begin = time.monotonic()
    stall_s = settings.stall_timeout.total_seconds()
    for attempt, pause_s in enumerate(backoff()):
        try:
            await asyncio.to_thread(probe)
            return attempt == 0
        except (SourceError, StoreError) as error:
            patience_s = stall_s if isinstance(error, SourceError) else OUTAGE_S
            if not error.retry or time.monotonic() - begin >= patience_s:
                return True
        await asyncio.sleep(pause_s)
    raise AssertionError("unreachable")


def failing_s(refs: Iterable[str]) -> float:
    """So long is a server asked again that answers, but fails to hand out these: ours is known to
    have them, another may never do so."""
    is_ours = any(ref.startswith("s3://") or staged_key(ref) for ref in refs)
    return _FAILING_S if is_ours else 0.0
