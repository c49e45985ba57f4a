"""Makes a batch of Kafka messages durable: each in the catalogue or as a dead letter.

Messages of one stream go in their order, those of different streams side by side.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from aiokafka import AIOKafkaProducer, ConsumerRecord

from actors.dead_letters import bury
from actors.loops import backoff, pause
from pipeline.errors import CatalogUnavailable, InvalidTask, VodrayError
from pipeline.instants import EARLIEST
from pipeline.messages import parse_task
from pipeline.metrics import COUNTS, DEAD_LETTERS
from pipeline.model import StreamEvent
from pipeline.stores.catalog import Accepted
from pipeline.tracing import add_span

# The catalogue takes what comes at once in one transaction.
ACCEPTS_AT_ONCE = 200
ACCEPT_TIMEOUT_S = 20.0

log = logging.getLogger(__name__)

Accept = Callable[[StreamEvent], Awaitable[Accepted]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message and what it turned out to be: an event, or the reason why it is none."""

    record: ConsumerRecord
    event: StreamEvent | None
    reason: str = ""


class Settler:
    """``accept`` raises ``CatalogUnavailable`` to be called again later, ``InvalidTask`` to have
    the message put aside. ``catalog_error`` says why tasks wait; None while they do not."""

    def __init__(self, accept: Accept) -> None:
        self._accept = accept
        self.catalog_error: str | None = None
        self.accepted = 0
        self.dead_letters = 0

    async def settle(
        self,
        records: Iterable[ConsumerRecord],
        producer: AIOKafkaProducer,
        give_up: asyncio.Event,
    ) -> bool:
        """Whether all of it is durable: it always is in the end, unless told to give up.

        Raises ``BrokerUnavailable`` where a dead letter could not be sent.
        """
        lanes: Sequence[deque[Message]] = _lanes(records)
        for delay in backoff():
            lanes = await self._attempt(lanes, producer)
            if not lanes:
                return True
            log.warning("tasks wait: %s", self.catalog_error)
            if await pause(give_up, delay):
                return False
        raise AssertionError("backoff never ends")

    async def _attempt(
        self, lanes: Sequence[deque[Message]], producer: AIOKafkaProducer
    ) -> Sequence[deque[Message]]:
        """What is left: nothing, unless the catalogue is away."""
        self.catalog_error = None
        turn = asyncio.Semaphore(ACCEPTS_AT_ONCE)
        results = await asyncio.gather(
            *(self._drain(lane, turn, producer) for lane in lanes), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return [lane for lane in lanes if lane]

    async def _drain(
        self, lane: deque[Message], turn: asyncio.Semaphore, producer: AIOKafkaProducer
    ) -> None:
        async with turn:
            while lane and self.catalog_error is None:
                try:
                    await self._settle_one(lane[0], producer)
                except CatalogUnavailable as error:
                    self.catalog_error = str(error)
                else:
                    lane.popleft()

    async def _settle_one(self, message: Message, producer: AIOKafkaProducer) -> None:
        reason = await self._refusal(message.event) if message.event else message.reason
        if not reason:
            self.accepted += 1
            return
        record = message.record
        log.warning("no task at %s/%s: %s", record.partition, record.offset, reason)
        await bury(producer, record, reason)
        self.dead_letters += 1
        COUNTS.count(DEAD_LETTERS)

    async def _refusal(self, event: StreamEvent) -> str:
        """Empty once the event is durable, else why it never will be."""
        try:
            begin = time.monotonic()
            async with asyncio.timeout(ACCEPT_TIMEOUT_S):
                accepted = await self._accept(event)
            if accepted.recording_id is not None:
                add_span(
                    "task", accepted.recording_id, time.monotonic() - begin,
                    kind=event.kind.value, by="kafka",
                )  # fmt: skip
        except (OSError, TimeoutError) as error:
            raise CatalogUnavailable(f"accepting a task failed: {error!r}") from error
        except VodrayError as error:
            if error.retry:
                raise CatalogUnavailable(str(error)) from error
            return str(error)
        except Exception as error:  # one message must not hold up all that come after it
            log.exception("a task could not be accepted")
            return f"internal error: {type(error).__name__}"
        return ""


def _lanes(records: Iterable[ConsumerRecord]) -> list[deque[Message]]:
    """One queue per stream, and one for each message that belongs to none."""
    lanes: dict[object, deque[Message]] = {}
    for record in records:
        message = _read(record)
        place = (record.partition, record.offset)
        lane = message.event.stream_id if message.event else place
        lanes.setdefault(lane, deque()).append(message)
    return list(lanes.values())


def _read(record: ConsumerRecord) -> Message:
    now = datetime.now(UTC)
    try:
        event = parse_task(record.value, sent_at=_sent_at(record, now), now=now)
    except InvalidTask as error:
        return Message(record=record, event=None, reason=str(error))
    return Message(record=record, event=event)


def _sent_at(record: ConsumerRecord, now: datetime) -> datetime:
    """The message's own timestamp where it can be meant: producers write it, or leave it out."""
    earliest_ms, now_ms = EARLIEST.timestamp() * 1000, now.timestamp() * 1000
    if not earliest_ms <= record.timestamp <= now_ms:
        return now
    return datetime.fromtimestamp(record.timestamp / 1000, UTC)
