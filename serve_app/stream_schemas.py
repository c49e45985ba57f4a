"""Live ingest over HTTP as pydantic models."""

from datetime import UTC, datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipeline.ingest.state import Notice
from pipeline.ingest.view import View
from pipeline.names import check_label, check_stream_name


class StreamNotice(BaseModel):
    """What somebody says of a stream. Fields not named here are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True)

    stream_id: str = Field(description="One path part of at most 255 bytes")
    status: Literal["waiting", "live", "stopped"]
    stream_key: str | None = Field(
        None, description="The folder of its playlist in the bucket; `stream_id` if missing"
    )
    user_id: str | None = None
    title: str | None = None

    @field_validator("stream_id", mode="before")
    @classmethod
    def _stream_id(cls, value: object) -> str:
        return check_stream_name(value, "stream_id")

    @field_validator("stream_key", mode="before")
    @classmethod
    def _stream_key(cls, value: object) -> str | None:
        return None if value in (None, "") else check_stream_name(value, "stream_key")

    @field_validator("user_id", "title", mode="before")
    @classmethod
    def _labels(cls, value: object, info: Any) -> str | None:
        return None if value in (None, "") else check_label(value, info.field_name)

    def to_notice(self) -> Notice:
        return Notice(**self.model_dump())


class PublishUrls(BaseModel):
    """Where to publish. Whoever has them may."""

    srt: str
    rtmp: str = Field(description="`rtmp_server` and `rtmp_key` as one URL")
    rtmp_server: str
    rtmp_key: str


class LastSegment(BaseModel):
    number: int = Field(description="Media sequence number")
    at: datetime = Field(description="When it ended")


class Stream(BaseModel):
    """A stream that is taken in."""

    stream_id: str
    status: Literal["waiting", "live", "reconnecting", "ending", "ended"]
    protocol: Literal["srt", "rtmp"] | None
    bitrate: int = Field(description="bit/s over the last seconds")
    fps: float | None = Field(description="Pictures a second over the last seconds")
    last_segment: LastSegment | None
    started_at: datetime | None
    user_id: str | None
    title: str | None
    waiting_segments: int = Field(description="Cut, and not in the bucket yet")
    problem: str | None = Field(description="Why the last publisher was not taken")
    stream_key: str | None = Field(description="null for those who may not publish")
    urls: PublishUrls | None = Field(description="null for those who may not publish")

    @classmethod
    def of(cls, view: View, *, may_publish: bool) -> Self:
        last = None
        if view.last_number is not None and view.last_at is not None:
            last = LastSegment(number=view.last_number, at=view.last_at.astimezone(UTC))
        urls = PublishUrls.model_validate(view.urls, from_attributes=True)
        return cls(
            **{name: getattr(view, name) for name in _AS_THEY_ARE},
            last_segment=last,
            started_at=None if view.started_at is None else view.started_at.astimezone(UTC),
            stream_key=view.stream_key if may_publish else None,
            urls=urls if may_publish else None,
        )


_AS_THEY_ARE = (
    *("stream_id", "status", "protocol", "bitrate", "fps", "user_id", "title"),
    *("waiting_segments", "problem"),
)


class OneStream(BaseModel):
    stream: Stream


class StreamList(BaseModel):
    streams: list[Stream]


class CleanupAnswer(BaseModel):
    removed: int = Field(description="Streams that have ended, and are forgotten now")
