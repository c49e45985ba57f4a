"""``intake``: how fast tasks become durable, by webhook and through Kafka, and whether one machine
keeps up with many live streams."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp
import asyncpg
import numpy as np
from aiokafka import AIOKafkaProducer

from bench.facts import machine_facts
from bench.media import LOW, SEGMENT_S, make_stream
from bench.result import SCHEMA, Figures, Options
from bench.tabled import Chart, Line
from bench.told import Told
from bench.watch import Usage, Watch
from bench.world import World, running, webhook_body
from pipeline.errors import WorkerLost
from pipeline.model import Status

_DONE_TIMEOUT_S = 120.0
_LOOK_S = 0.05
# By then each live stream has a supervisor, whose start is not what goes on for hours.
_SETTLED_SEGMENTS = 6
_WITHIN_MS = tuple(2**power for power in range(13))
_NOTES = (
    "webhook: requests are sent when they are due, whether or not those before are answered, and "
    "timed from then; each announces another stream, which has no playlist yet",
    "Kafka: from the first task produced to the last one in PostgreSQL; the service takes up the "
    "recordings meanwhile",
    "live: all streams go on in real time and begin and end within 4 s; each is timed from its own "
    "end",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """``webhooks_per_s`` for ``webhook_s`` seconds, then ``busy_per_s`` while ``busy_streams`` are
    recorded; ``kafka_tasks`` as fast as they are taken; ``streams`` at once."""

    webhooks_per_s: int = 300
    webhook_s: int = 10
    busy_per_s: int = 200
    busy_streams: int = 10
    kafka_tasks: int = 10_000
    streams: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """In seconds."""

    p50_s: float
    p99_s: float
    most_s: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Latency":
        p50, p99, most = np.percentile(seconds, [50, 99, 100])
        return cls(p50_s=float(p50), p99_s=float(p99), most_s=float(most))


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """``streams``: how many were recorded meanwhile; ``asked_per_s``: how often one was sent;
    ``refused``: those that were not answered with 2xx; ``within``: which share was answered in so
    many ms."""

    streams: int
    asked_per_s: int
    per_s: float
    requests: int
    refused: int
    latency: Latency
    within: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kafka:
    """``per_s``: tasks durable; ``produced_s``: how long the producer took."""

    per_s: float
    tasks: int
    produced_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """``behind``: by how many seconds of media recordings were behind what was told, while the
    streams went on; ``to_vod``: from the end; ``usage`` while they went on, ``seconds`` of it."""

    streams: int
    seconds: float
    behind: Latency
    to_vod: Latency
    completed: int
    gaps: int
    usage: tuple[Usage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeResult:
    """A ``Tabled`` outcome."""

    facts: dict[str, Any]
    webhook: Webhook
    busy: Webhook
    kafka: Kafka
    live: Live
    name: str = "intake"
    title: str = "tasks that become durable, and live streams at once, on one machine"
    notes: tuple[str, ...] = _NOTES

    def about(self) -> str:
        hook, live = self.webhook, self.live
        return (
            f"{hook.requests} webhooks at {hook.asked_per_s}/s, {self.kafka.tasks} tasks through "
            f"Kafka, {live.streams} live streams of {live.seconds:.0f} s"
        )

    def figures(self) -> Sequence[Figures]:
        kafka, live = self.kafka, self.live
        return (
            Figures(
                title="tasks durable in PostgreSQL",
                heads=("by", "asked for", "tasks", "a second", "p50 ms", "p99 ms", "longest ms",
                       "refused"),
                rows=(
                    *(
                        (_beside("webhook", hook), f"{hook.asked_per_s}/s", str(hook.requests),
                         f"{hook.per_s:.0f}", *_ms(hook.latency), str(hook.refused))
                        for hook in (self.webhook, self.busy)
                    ),
                    ("Kafka", "", str(kafka.tasks), f"{kafka.per_s:.0f}", "", "", "", ""),
                ),
            ),
            Figures(
                title=f"{live.streams} live streams at once, for {live.seconds:.0f} s",
                heads=("", "p50 s", "p99 s", "longest s"),
                rows=(
                    ("segments told and not yet seen", *_s(live.behind)),
                    ("from the end to the MP4", *_s(live.to_vod)),
                ),
            ),
            Figures(
                title=f"processes while they go on; {live.completed} completed, {live.gaps} gaps",
                heads=("kind", "processes", "share of a core", "peak PSS MiB"),
                rows=tuple(
                    (each.kind, str(each.processes), f"{100 * each.cpu_s / live.seconds:.1f} %",
                     f"{each.peak_pss_bytes / 2**20:.0f}")
                    for each in live.usage
                ),
            ),
        )  # fmt: skip

    def chart(self) -> Chart:
        return Chart(
            across="milliseconds",
            up="share of webhooks that are answered within; higher is better",
            unit="{:.0%}",
            is_log_across=True,
            lines=[
                Line(name=_beside(f"{hook.asked_per_s} a second", hook), points=hook.within)
                for hook in (self.webhook, self.busy)
            ],
        )

    def as_json(self) -> dict[str, Any]:
        return {"schema": SCHEMA, "bench": self.name, **asdict(self)}


def run(options: Options, say: Callable[[str], object], load: Load | None = None) -> IntakeResult:
    """Raises ``WorkerLost`` where tasks do not become durable."""
    load = load or Load()
    facts = machine_facts(options.folder)
    stream = make_stream(LOW, options.length_s, options.folder / "media")
    with running(options.folder, flame=options.flame) as world:
        say(f"{load.streams} live streams of {stream.seconds} s")
        told = Told(world, world.publish(stream.folder, "live"), stream)
        live = asyncio.run(_live(world, told, load.streams))
        say(f"{load.webhooks_per_s} webhooks a second")
        webhook = asyncio.run(_webhook(world, "hook", load.webhooks_per_s, load.webhook_s))
        say(f"{load.kafka_tasks} tasks through Kafka")
        kafka = asyncio.run(_kafka(world, load.kafka_tasks))
    # Thousands of streams that never come are no load of every day: a service without them.
    with running(options.folder, flame=None) as world:
        say(f"{load.busy_per_s} webhooks a second while {load.busy_streams} streams are recorded")
        told = Told(world, world.publish(stream.folder, "busy"), stream)
        busy = asyncio.run(_busy(world, told, load))
    return IntakeResult(facts=facts, webhook=webhook, busy=busy, kafka=kafka, live=live)


def _beside(what: str, hook: Webhook) -> str:
    return f"{what}, {hook.streams} live streams beside" if hook.streams else what


def _ms(latency: Latency) -> tuple[str, ...]:
    return tuple(f"{1000 * seconds:.1f}" for seconds in asdict(latency).values())


def _s(latency: Latency) -> tuple[str, ...]:
    return tuple(f"{seconds:.2f}" for seconds in asdict(latency).values())


# --- live streams ---------------------------------------------------------------------------------


async def _live(world: World, told: Told, streams: int) -> Live:
    names = [f"live-{number:03d}" for number in range(streams)]
    connection = await asyncpg.connect(world.settings.database_dsn)
    behind: list[float] = []
    try:
        async with aiohttp.ClientSession() as session:
            for name in names:
                await asyncio.to_thread(told.tell, name, 1)
            with Watch([world.pid]) as watch:
                begin = time.perf_counter()
                await _announce(world, session, "stream.started", names, told)
                for count in range(2, told.segments):
                    await _tell_all(names, told, count, begin)
                    behind += await _behind(connection, count - 1)
                seconds = time.perf_counter() - begin
            ended = await _end_all(world, session, names, told, begin)
            to_vod, gaps = await _completed(connection, ended)
    finally:
        await connection.close()
    return Live(
        streams=streams,
        seconds=seconds,
        behind=Latency.of(behind),
        to_vod=Latency.of(to_vod),
        completed=len(to_vod),
        gaps=gaps,
        usage=watch.usage(),
    )


async def _tell_all(names: Sequence[str], told: Told, count: int, begin: float) -> None:
    """Not all in the same moment: streams begin when they begin."""
    for number, name in enumerate(names):
        due = begin + (count - 1 + number / len(names)) * SEGMENT_S
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        await asyncio.to_thread(told.tell, name, count)


async def _end_all(
    world: World,
    session: aiohttp.ClientSession,
    names: Sequence[str],
    told: Told,
    begin: float,
) -> dict[str, datetime]:
    """Tell of the last segment of each, and that it was the last. When that was, by name."""
    ended = {}
    for number, name in enumerate(names):
        due = begin + (told.segments - 1 + number / len(names)) * SEGMENT_S
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        await asyncio.to_thread(told.tell, name, told.segments)
        ended[name] = datetime.now(UTC)
        await _announce(world, session, "stream.ended", [name], told)
    return ended


async def _behind(connection: asyncpg.Connection, count: int) -> list[float]:
    """Seconds of stream that were told one segment ago and are not seen yet, of each recording."""
    rows = await connection.fetch(
        "SELECT (progress->>'segments')::int AS seen FROM recordings WHERE stream_id LIKE 'live-%'"
    )
    return [max(0, count - row["seen"]) * SEGMENT_S for row in rows]


async def _completed(
    connection: asyncpg.Connection, ended: Mapping[str, datetime]
) -> tuple[list[float], int]:
    """How long each took from its end, and how many gaps there are in all."""
    give_up = time.perf_counter() + _DONE_TIMEOUT_S
    while True:
        rows = await connection.fetch(
            "SELECT stream_id, status::text, completed_at, jsonb_array_length(gaps) AS gaps "
            "FROM recordings WHERE stream_id LIKE 'live-%' AND status IN ('completed', 'failed')"
        )
        failed = [row["stream_id"] for row in rows if row["status"] != Status.COMPLETED.value]
        if failed:
            raise WorkerLost(f"Not recorded: {', '.join(failed)}")
        if len(rows) == len(ended):
            break
        if time.perf_counter() > give_up:
            raise WorkerLost(f"Only {len(rows)} of {len(ended)} streams were recorded in time")
        await asyncio.sleep(_LOOK_S)
    took = [(row["completed_at"] - ended[row["stream_id"]]).total_seconds() for row in rows]
    return took, sum(row["gaps"] for row in rows)


async def _announce(
    world: World, session: aiohttp.ClientSession, event: str, names: Sequence[str], told: Told
) -> None:
    async def one(name: str) -> None:
        body = webhook_body(event, name, told.place_of(name).hls_path)
        async with session.post(world.webhook, json=body) as answer:
            answer.raise_for_status()

    await asyncio.gather(*map(one, names))


# --- tasks ----------------------------------------------------------------------------------------


async def _busy(world: World, told: Told, load: Load) -> Webhook:
    """Live streams are recorded before, meanwhile, and to their end."""
    names = [f"live-{number:03d}" for number in range(load.busy_streams)]
    async with aiohttp.ClientSession() as session:
        for name in names:
            await asyncio.to_thread(told.tell, name, 1)
        begin = time.perf_counter()
        await _announce(world, session, "stream.started", names, told)
        settled = min(_SETTLED_SEGMENTS, told.segments - 1)
        for count in range(2, settled + 1):
            await _tell_all(names, told, count, begin)
        webhooks = asyncio.create_task(
            _webhook(world, "busy", load.busy_per_s, load.webhook_s, load.busy_streams)
        )
        for count in range(settled + 1, told.segments):
            await _tell_all(names, told, count, begin)
        ended = await _end_all(world, session, names, told, begin)
        connection = await asyncpg.connect(world.settings.database_dsn)
        try:
            await _completed(connection, ended)
        finally:
            await connection.close()
        return await webhooks


async def _webhook(
    world: World, prefix: str, per_s: int, seconds: int, streams: int = 0
) -> Webhook:
    count = per_s * seconds
    begin = time.perf_counter()

    async def one(number: int) -> tuple[float, bool]:
        due = begin + number / per_s
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        body = webhook_body("stream.started", f"{prefix}-{number}", f"nowhere/{number}/stream.m3u8")
        async with session.post(world.webhook, json=body) as answer:
            await answer.read()
            return time.perf_counter() - due, answer.ok

    # As many connections as there are requests under way: none waits here for its turn.
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        answers = await asyncio.gather(*map(one, range(count)))
    return Webhook(
        streams=streams,
        asked_per_s=per_s,
        per_s=count / (time.perf_counter() - begin),
        requests=count,
        refused=sum(not ok for _, ok in answers),
        latency=Latency.of([seconds for seconds, _ in answers]),
        within=tuple(
            (ms, sum(1000 * seconds <= ms for seconds, _ in answers) / count) for ms in _WITHIN_MS
        ),
    )


async def _kafka(world: World, tasks: int) -> Kafka:
    connection = await asyncpg.connect(world.settings.database_dsn)
    try:
        begin = time.perf_counter()
        await _produce(world, tasks)
        produced_s = time.perf_counter() - begin
        while await _arrived(connection) < tasks:
            if time.perf_counter() - begin > _DONE_TIMEOUT_S:
                raise WorkerLost("Tasks were not durable in time")
            await asyncio.sleep(_LOOK_S)
        per_s = tasks / (time.perf_counter() - begin)
    finally:
        await connection.close()
    return Kafka(per_s=per_s, tasks=tasks, produced_s=produced_s)


async def _produce(world: World, tasks: int) -> None:
    producer = AIOKafkaProducer(**world.settings.kafka_access.client_options(), linger_ms=5)
    await producer.start()
    try:
        for number in range(tasks):
            task = {"action": "start", "stream_id": f"task-{number}",
                    "hls_path": f"nowhere/{number}/stream.m3u8",
                    "timestamp": datetime.now(UTC).isoformat()}  # fmt: skip
            await producer.send(world.settings.kafka_topic, json.dumps(task).encode())
    finally:
        await producer.stop()


async def _arrived(connection: asyncpg.Connection) -> int:
    count: int = await connection.fetchval(
        "SELECT count(*) FROM tasks WHERE event->>'stream_id' LIKE 'task-%'"
    )
    return count
