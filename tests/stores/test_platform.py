"""What both platforms promise, on both."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from pipeline.errors import VideoNotFound
from pipeline.model import EventKind, Origin, StreamEvent
from pipeline.stores.catalog_postgres import PostgresCatalog
from pipeline.stores.platform import Change, Platform, Video, Visibility, WantedVideos
from pipeline.stores.platform_memory import MemoryPlatform
from pipeline.stores.platform_postgres import PostgresPlatform

NOW = datetime(2025, 10, 5, 18, tzinfo=UTC)


class Both:
    """A platform, and recordings for its videos."""

    def __init__(self, platform: Platform, catalog: PostgresCatalog | None) -> None:
        self.platform, self._catalog = platform, catalog

    async def recording(self) -> UUID:
        if self._catalog is None:
            return uuid4()
        event = StreamEvent(
            kind=EventKind.STARTED,
            stream_id=str(uuid4()),
            occurred_at=NOW,
            origin=Origin.WEBHOOK,
        )
        accepted = await self._catalog.accept(event)
        assert accepted.recording_id is not None
        return accepted.recording_id

    async def add(self, **more: Any) -> Video:
        fields = {
            "title": "A talk",
            "user_id": "u1",
            "recording_id": await self.recording(),
            **more,
        }
        video = Video(id=uuid4(), created_at=NOW, updated_at=NOW, **fields)
        return await self.platform.add_video(video)


@pytest.fixture(params=["memory", "postgres"])
def closed_catalog(request: pytest.FixtureRequest) -> PostgresCatalog | None:
    if request.param == "memory":
        return None
    dsn = request.getfixturevalue("database")
    return PostgresCatalog(dsn, reconnect_window=timedelta(0), profile="copy")


@pytest.fixture
async def both(closed_catalog: PostgresCatalog | None) -> AsyncIterator[Both]:
    if closed_catalog is None:
        yield Both(MemoryPlatform(), None)
        return
    await closed_catalog.open()
    yield Both(PostgresPlatform(closed_catalog.database), closed_catalog)
    await closed_catalog.close()


async def listed(both: Both, **wanted: Any) -> list[str]:
    return [v.title for v in await both.platform.videos(WantedVideos(**wanted), limit=10)]


async def test_a_video_is_as_it_was_added(both: Both) -> None:
    added = await both.add(description="a\0b \U0001f600", visibility=Visibility.PUBLIC)
    found = await both.platform.video(added.id)
    assert found == added
    assert (found.title, found.user_id, found.views) == ("A talk", "u1", 0)
    with pytest.raises(VideoNotFound):
        await both.platform.video(uuid4())


async def test_a_recording_has_one_video(both: Both) -> None:
    recording_id = await both.recording()
    one = await both.add(recording_id=recording_id)
    again = await both.add(recording_id=recording_id, title="Other")
    assert again == one


async def test_lists_of_videos(both: Both) -> None:
    await both.add(title="A Talk: 100%", category="talks", visibility=Visibility.PUBLIC)
    await both.add(title="A concert", user_id="u2", visibility=Visibility.UNLISTED)
    await both.add(title="A secret", description="About a talk", user_id="u2")
    assert await listed(both) == ["A secret", "A concert", "A Talk: 100%"]
    assert await listed(both, text="TALK") == ["A secret", "A Talk: 100%"]
    assert await listed(both, text="0%") == ["A Talk: 100%"]
    assert await listed(both, text="_") == []
    assert await listed(both, category="talks") == ["A Talk: 100%"]
    assert await listed(both, user_id="u2") == ["A secret", "A concert"]
    assert await listed(both, viewer="u1") == ["A Talk: 100%"]
    assert await listed(both, viewer="u2") == ["A secret", "A concert", "A Talk: 100%"]
    assert await listed(both, viewer="u1", user_id="u2") == []
    (first,) = await both.platform.videos(WantedVideos(), limit=1)
    before = (first.created_at, first.id)
    rest = await both.platform.videos(WantedVideos(), limit=5, before=before)
    assert [v.title for v in rest] == ["A concert", "A Talk: 100%"]


async def test_videos_change_and_go(both: Both) -> None:
    video = await both.add()
    changed = await both.platform.change_video(video.id, {"title": "New", "visibility": "public"})
    assert (changed.title, changed.visibility) == ("New", Visibility.PUBLIC)
    assert changed.description == video.description
    assert changed.updated_at > video.created_at
    await both.platform.delete_video(video.id)
    await both.platform.delete_video(video.id)
    with pytest.raises(VideoNotFound):
        await both.platform.change_video(video.id, {"title": "x"})


async def test_views_add_up(both: Both) -> None:
    video = await both.add()
    assert video.recording_id is not None
    await both.platform.count_served(video.recording_id, 1, 100)
    await both.platform.count_served(video.recording_id, 2, 5_000_000_000)
    await both.platform.count_served(uuid4(), 7, 7)
    found = await both.platform.video(video.id)
    assert (found.views, found.bytes_served) == (3, 5_000_000_100)


async def test_revoked_tokens(both: Both) -> None:
    later = datetime.now(UTC) + timedelta(days=1)
    assert not await both.platform.is_revoked(b"one")
    await both.platform.revoke(b"one", later)
    await both.platform.revoke(b"one", later)
    assert await both.platform.is_revoked(b"one")
    assert not await both.platform.is_revoked(b"other")


async def test_the_audit_takes_whatever_comes(both: Both) -> None:
    change = Change(
        actor="a\0b", address="::1", action="x", subject="s", details={"title": "a\ud800"}
    )
    await both.platform.note(change)
