"""Streams that are taken in, in PostgreSQL."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pipeline.errors import Conflict
from pipeline.ingest import state as states
from pipeline.ingest.playlist import Entry
from pipeline.ingest.state import Ingest, Phase
from pipeline.stores.catalog_postgres import PostgresCatalog
from pipeline.stores.ingests import Ingests

NOW = datetime(2025, 10, 5, 18, 0, tzinfo=UTC)
WINDOW = timedelta(seconds=60)
NEW = Ingest(stream_id="s", stream_key="k", secret="x" * 32, port=20900, asked_at=NOW)
LIVE = states.connected(NEW, "srt", NOW, WINDOW)


@pytest.fixture
async def ingests(database: str) -> AsyncIterator[Ingests]:
    ingests = Ingests(database)
    await ingests.open()
    yield ingests
    await ingests.close()


def entry(run: int, number: int) -> Entry:
    return Entry(run=run, number=number, duration_s=4.0, began_at=NOW, is_gap=number == 1)


async def test_what_is_saved_is_found(ingests: Ingests) -> None:
    other = replace(NEW, stream_id="t", stream_key="l", user_id="u", title="A talk")
    for state in (NEW, other, LIVE, LIVE):
        await ingests.save(state)
    assert await ingests.all() == (LIVE, other)
    await ingests.forget("s")
    await ingests.forget("s")
    assert await ingests.all() == (other,)


async def test_a_stream_key_has_one_stream(ingests: Ingests) -> None:
    await ingests.save(NEW)
    with pytest.raises(Conflict, match="stream key k"):
        await ingests.save(replace(NEW, stream_id="t"))


async def test_segments_are_there_once_and_in_order(ingests: Ingests) -> None:
    await ingests.save(LIVE)
    for each in (entry(2, 0), entry(1, 10), entry(1, 1), entry(1, 1)):
        await ingests.add_segment(LIVE, each)
    await ingests.save(replace(LIVE, phase=Phase.LOST))
    assert await ingests.segments(LIVE) == [entry(1, 1), entry(1, 10), entry(2, 0)]
    later = replace(LIVE, broadcast="another")
    await ingests.save(later)
    assert await ingests.segments(later) == []
    assert await ingests.segments(LIVE) == []


async def test_whether_an_event_was_told(ingests: Ingests, database: str) -> None:
    catalog = PostgresCatalog(database, reconnect_window=WINDOW, profile="copy")
    await catalog.open()
    event = states.start_event(LIVE)
    assert not await ingests.was_told(event)
    await catalog.accept(event)
    assert await ingests.was_told(event)
    assert not await ingests.was_told(replace(event, occurred_at=NOW + timedelta(seconds=1)))
    await catalog.close()
