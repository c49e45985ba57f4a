"""``Platform`` in memory, for tests."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from pipeline.errors import VideoNotFound
from pipeline.stores.platform import Change, Video, Visibility, WantedVideos


class MemoryPlatform:
    """See ``Platform``. ``changes``: what was noted."""

    def __init__(self) -> None:
        self._videos: dict[UUID, Video] = {}
        self._revoked: set[bytes] = set()
        self.changes: list[Change] = []

    async def add_video(self, video: Video) -> Video:
        for known in self._videos.values():
            if known.recording_id is not None and known.recording_id == video.recording_id:
                return known
        now = datetime.now(UTC)
        return self._videos.setdefault(video.id, replace(video, created_at=now, updated_at=now))

    async def video(self, video_id: UUID) -> Video:
        try:
            return self._videos[video_id]
        except KeyError:
            raise VideoNotFound("There is no such video") from None

    async def videos(
        self, wanted: WantedVideos, *, limit: int, before: tuple[datetime, UUID] | None = None
    ) -> Sequence[Video]:
        found = [
            video
            for video in self._videos.values()
            if wanted.holds(video) and (before is None or (video.created_at, video.id) < before)
        ]
        return sorted(found, key=lambda v: (v.created_at, v.id), reverse=True)[:limit]

    async def change_video(self, video_id: UUID, values: Mapping[str, str]) -> Video:
        known = await self.video(video_id)
        self._videos[video_id] = replace(
            known,
            title=values.get("title", known.title),
            description=values.get("description", known.description),
            category=values.get("category", known.category),
            visibility=Visibility(values.get("visibility", known.visibility)),
            updated_at=datetime.now(UTC),
        )
        return self._videos[video_id]

    async def delete_video(self, video_id: UUID) -> None:
        self._videos.pop(video_id, None)

    async def count_served(self, recording_id: UUID, views: int, bytes_served: int) -> None:
        for video in [*self._videos.values()]:
            if video.recording_id == recording_id:
                self._videos[video.id] = replace(
                    video,
                    views=video.views + views,
                    bytes_served=video.bytes_served + bytes_served,
                )

    async def revoke(self, token_hash: bytes, expires_at: datetime) -> None:  # noqa: ARG002
        self._revoked.add(token_hash)

    async def is_revoked(self, token_hash: bytes) -> bool:
        return token_hash in self._revoked

    async def note(self, change: Change) -> None:
        self.changes.append(change)
