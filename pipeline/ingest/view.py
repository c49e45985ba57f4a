"""A stream that is taken in, as those who ask are told of it."""

from dataclasses import dataclass
from datetime import datetime

from pipeline.ingest.addresses import Urls


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """``bitrate`` in bit/s and ``fps`` over the last seconds. ``last_number``, ``last_at``: of the
    last segment that the playlist names, and when it ended. ``waiting_segments``: are still to be
    stored. ``problem``: why the last publisher was not taken."""

    stream_id: str
    stream_key: str
    status: str
    user_id: str | None
    title: str | None
    protocol: str | None
    bitrate: int
    fps: float | None
    started_at: datetime | None
    last_number: int | None
    last_at: datetime | None
    waiting_segments: int
    problem: str | None
    urls: Urls
