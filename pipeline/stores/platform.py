"""``Platform``: what viewers are shown of recordings, who may not come any more, and who changed
what. In PostgreSQL beside the catalogue, or in memory (tests).

Errors: ``CatalogUnavailable`` when it cannot be reached, ``VideoNotFound``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID


class Visibility(StrEnum):
    """``UNLISTED``: whoever knows its id sees it."""

    PUBLIC = "public"
    UNLISTED = "unlisted"
    PRIVATE = "private"


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """An entry of the VOD catalogue. ``recording_id``: None where that is gone."""

    id: UUID
    recording_id: UUID | None
    user_id: str | None
    title: str
    description: str = ""
    category: str = ""
    visibility: Visibility = Visibility.PRIVATE
    created_at: datetime
    updated_at: datetime
    views: int = 0
    bytes_served: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedVideos:
    """Which videos a list is of. ``viewer``: private ones, and those that are unlisted, only if
    they are theirs; None: all."""

    text: str | None = None
    category: str | None = None
    user_id: str | None = None
    viewer: str | None = None

    def holds(self, video: Video) -> bool:
        searched = f"{video.title} {video.description} {video.category}".lower()
        return (
            (not self.text or self.text.lower() in searched)
            and self.category in (None, video.category)
            and self.user_id in (None, video.user_id)
            and (
                self.viewer is None
                or video.visibility is Visibility.PUBLIC
                or video.user_id == self.viewer
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Of somebody, for the audit. ``subject``: what was changed; ``details`` is JSON."""

    actor: str
    address: str
    action: str
    subject: str
    details: Mapping[str, Any]


class Platform(Protocol):
    # --- videos --------------------------------------------------------------------------------
    async def add_video(self, video: Video) -> Video:
        """The one that there is of its recording, if there is one."""

    async def video(self, video_id: UUID) -> Video: ...

    async def videos(
        self, wanted: WantedVideos, *, limit: int, before: tuple[datetime, UUID] | None = None
    ) -> Sequence[Video]:
        """Newest first by ``(created_at, id)``; ``before`` is the last one of the page before."""

    async def change_video(self, video_id: UUID, values: Mapping[str, str]) -> Video:
        """``values`` of title, description, category, visibility."""

    async def delete_video(self, video_id: UUID) -> None:
        """One that is gone is no error."""

    async def count_served(self, recording_id: UUID, views: int, bytes_served: int) -> None:
        """Of the video that shows this recording, if there is one."""

    # --- access --------------------------------------------------------------------------------
    async def revoke(self, token_hash: bytes, expires_at: datetime) -> None: ...

    async def is_revoked(self, token_hash: bytes) -> bool: ...

    async def note(self, change: Change) -> None:
        """Write it down for good."""
