"""``Platform`` in PostgreSQL."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from pipeline.errors import VideoNotFound
from pipeline.stores.catalog_json import REPORT, storable
from pipeline.stores.catalog_rows import SQL
from pipeline.stores.database import Database
from pipeline.stores.listing import Page
from pipeline.stores.platform import Change, Video, Visibility, WantedVideos

_COLUMNS = (
    "id", "recording_id", "user_id", "title", "description", "category", "visibility",
    "created_at", "updated_at", "views", "bytes_served",
)  # fmt: skip
_CHANGEABLE = ("title", "description", "category", "visibility")


class PostgresPlatform:
    """See ``Platform``. On the catalogue's database, which must be open."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_video(self, video: Video) -> Video:
        values = [
            video.id,
            video.recording_id,
            video.user_id,
            *(storable(getattr(video, name)) for name in _CHANGEABLE),
        ]
        return _video(await self._row("add_video", *values))

    async def video(self, video_id: UUID) -> Video:
        return _found(await self._row("video", video_id))

    async def videos(
        self, wanted: WantedVideos, *, limit: int, before: tuple[datetime, UUID] | None = None
    ) -> Sequence[Video]:
        page = Page(before)
        page.holds("searched", wanted.text)
        page.equals("category", wanted.category)
        page.equals("user_id", wanted.user_id)
        if wanted.viewer is not None:
            page.any_of(visibility=Visibility.PUBLIC.value, user_id=wanted.viewer)
        statement, parameters = page.query("videos", ", ".join(_COLUMNS), limit)
        rows = await self._database.run(lambda connection: connection.fetch(statement, *parameters))
        return [_video(row) for row in rows]

    async def change_video(self, video_id: UUID, values: Mapping[str, str]) -> Video:
        told = [values.get(name) for name in _CHANGEABLE]
        new = [None if value is None else storable(value) for value in told]
        return _found(await self._row("change_video", video_id, *new))

    async def delete_video(self, video_id: UUID) -> None:
        await self._row("delete_video", video_id)

    async def count_served(self, recording_id: UUID, views: int, bytes_served: int) -> None:
        await self._row("count_served", recording_id, views, bytes_served)

    async def revoke(self, token_hash: bytes, expires_at: datetime) -> None:
        await self._row("revoke", token_hash, expires_at)

    async def is_revoked(self, token_hash: bytes) -> bool:
        return await self._row("revoked", token_hash) is not None

    async def note(self, change: Change) -> None:
        details = REPORT.dump(dict(change.details))
        actor, address, action, subject = map(
            storable, (change.actor, change.address, change.action, change.subject)
        )
        await self._row("note_change", actor, address, action, subject, details)

    async def _row(self, query: str, *arguments: Any) -> asyncpg.Record | None:
        return await self._database.run(
            lambda connection: connection.fetchrow(SQL[query], *arguments)
        )


def _found(row: asyncpg.Record | None) -> Video:
    if row is None:
        raise VideoNotFound("There is no such video")
    return _video(row)


def _video(row: asyncpg.Record | None) -> Video:
    assert row is not None
    plain = {name: row[name] for name in _COLUMNS}
    return Video(**plain | {"visibility": Visibility(row["visibility"])})
