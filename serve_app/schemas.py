"""What goes over HTTP as pydantic models: field names, order and types are the contract's.

Existing clients compare bodies byte by byte: add fields at the end, never rename or reorder.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pipeline import model
from pipeline.errors import InvalidTask
from pipeline.instants import parse_instant
from pipeline.names import check_hls_path, check_label, check_stream_name
from pipeline.stores import platform
from pipeline.stores.platform import Visibility
from serve_app.access.caller import Caller

MAX_TITLE, MAX_DESCRIPTION, MAX_LABEL = 300, 10_000, 255
# PostgreSQL holds none.
_NO_NUL = r"^[^\x00]*$"
_EVENT_KINDS = {
    "stream.started": model.EventKind.STARTED,
    "stream.ended": model.EventKind.ENDED,
}


class Problem(BaseModel):
    """Every answer that is an error."""

    error: str


class Progress(BaseModel):
    """How far a recording is."""

    segments: int = Field(description="Segments seen")
    chunks_done: int
    chunks_total: int = Field(description="Chunks planned so far")
    seconds: float = Field(description="Seconds of media done")


class Gap(BaseModel):
    """Media that is missing."""

    start: float = Field(description="Seconds on the recording's timeline")
    duration: float = Field(description="Seconds that are missing there")
    wall_clock: datetime | None
    segments: list[int] = Field(description="Media sequence numbers of the source")
    reason: str


class Rendition(BaseModel):
    """One encoded version: an MP4 object with its HLS playlist."""

    name: str
    file_path: str
    codecs: str = Field(description="As in RFC 6381")
    bandwidth: int = Field(description="Peak, bit/s")
    average_bandwidth: int = Field(description="bit/s")
    width: int | None
    height: int | None
    frame_rate: float | None


class Recording(BaseModel):
    """One broadcast and what became of it."""

    id: UUID
    stream_id: str
    video_id: UUID | None
    file_path: str | None = Field(description="bucket/key of the MP4")
    duration: int = Field(description="Whole seconds")
    file_size: int = Field(description="Bytes")
    status: model.Status
    started_at: datetime
    completed_at: datetime | None
    user_id: str | None
    title: str | None
    thumbnail_path: str | None
    progress: Progress
    gaps: list[Gap]
    error: str | None
    renditions: list[Rendition]
    stream_key: str | None = Field(
        None,
        description="Only for a token that may see it: its owner's and an admin's",
        exclude_if=lambda key: key is None,
    )
    keep: bool = Field(description="Never deleted for its age")

    @classmethod
    def of(cls, recording: model.Recording, caller: Caller) -> Self:
        """The recording as the caller may see it: whoever has its stream key can send to it."""
        return cls(
            id=recording.id,
            stream_id=recording.stream_id,
            video_id=recording.video_id,
            file_path=recording.file_path,
            duration=recording.duration,
            file_size=recording.file_size,
            status=recording.status,
            started_at=recording.started_at.astimezone(UTC),
            completed_at=_utc(recording.completed_at),
            user_id=recording.user_id,
            title=recording.title,
            thumbnail_path=recording.thumbnail_path,
            progress=Progress.model_validate(recording.progress, from_attributes=True),
            gaps=[_gap(gap) for gap in recording.gaps],
            error=recording.error,
            renditions=[
                Rendition.model_validate(each, from_attributes=True)
                for each in recording.renditions
            ],
            stream_key=recording.stream_key if caller.is_known else None,
            keep=recording.keep,
        )


class Deleted(BaseModel):
    """What is told of a recording that is gone."""

    id: UUID


class RecordingChange(BaseModel):
    """What is not named stays; null and the empty text clear it."""

    model_config = ConfigDict(extra="forbid")

    title: str | None = Field(None, max_length=MAX_TITLE, pattern=_NO_NUL)
    user_id: str | None = Field(None, max_length=MAX_LABEL, pattern=_NO_NUL)
    keep: bool = False


class Address(BaseModel):
    """``url`` reads without a token until then."""

    url: str
    expires_at: datetime


class Video(BaseModel):
    """An entry of the VOD catalogue."""

    id: UUID
    recording_id: UUID | None
    user_id: str | None
    title: str
    description: str
    category: str
    visibility: Visibility
    duration: int = Field(description="Whole seconds")
    file_path: str | None = Field(description="bucket/key of the MP4")
    file_size: int = Field(description="Bytes")
    thumbnail_path: str | None
    views: int
    bytes_served: int = Field(description="Through this service; the object store counts its own")
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, video: platform.Video, recording: model.Recording | None) -> Self:
        """``recording``: that it shows."""
        return cls(
            id=video.id,
            recording_id=video.recording_id,
            user_id=video.user_id,
            title=video.title,
            description=video.description,
            category=video.category,
            visibility=video.visibility,
            duration=recording.duration if recording else 0,
            file_path=recording.file_path if recording else None,
            file_size=recording.file_size if recording else 0,
            thumbnail_path=recording.thumbnail_path if recording else None,
            views=video.views,
            bytes_served=video.bytes_served,
            created_at=video.created_at.astimezone(UTC),
            updated_at=video.updated_at.astimezone(UTC),
        )


class OneVideo(BaseModel):
    video: Video


class ExternalVideo(BaseModel):
    """As the external VOD service describes it."""

    video: dict[str, Any]


class VideoPage(BaseModel):
    """``next_cursor`` is there only if there is a next page."""

    videos: list[Video]
    next_cursor: str | None = Field(None, exclude_if=lambda cursor: cursor is None)


class VideoImport(BaseModel):
    """A recording to show to viewers."""

    recording_id: UUID
    title: str = Field(min_length=1, max_length=MAX_TITLE, pattern=_NO_NUL)
    description: str = Field("", max_length=MAX_DESCRIPTION, pattern=_NO_NUL)
    category: str = Field("", max_length=MAX_LABEL, pattern=_NO_NUL)
    visibility: Visibility = Visibility.PRIVATE


class VideoChange(BaseModel):
    """What is not named stays."""

    model_config = ConfigDict(extra="forbid")

    title: str | None = Field(None, min_length=1, max_length=MAX_TITLE, pattern=_NO_NUL)
    description: str | None = Field(None, max_length=MAX_DESCRIPTION, pattern=_NO_NUL)
    category: str | None = Field(None, max_length=MAX_LABEL, pattern=_NO_NUL)
    visibility: Visibility | None = None


class Session(BaseModel):
    """``auth``: whether there is access control at all."""

    auth: bool
    user_id: str | None = None
    scopes: list[str] = []
    expires_at: datetime | None = None


class TokenBody(BaseModel):
    token: str = Field(min_length=1, max_length=8192)


class OneRecording(BaseModel):
    recording: Recording


class RecordingPage(BaseModel):
    """``next_cursor`` is there only if there is a next page."""

    recordings: list[Recording]
    next_cursor: str | None = Field(None, exclude_if=lambda cursor: cursor is None)


class HealthDetails(BaseModel):
    """Nothing of it makes the service unhealthy. ``disk_percent``: of the fullest disk that it
    writes to, None if nobody tells."""

    version: str
    schema_version: int = Field(description="Of PostgreSQL, as this version knows it")
    disk_percent: float | None
    backlog: Literal["taken", "waits"] = Field(
        description="Of streams of which only the end is told: `waits` above DISK_ALERT_PERCENT"
    )


class Healthy(BaseModel):
    status: Literal["healthy"] = "healthy"
    service: Literal["recording-service"] = "recording-service"
    details: HealthDetails | None = Field(
        None, description="Where they are asked for", exclude_if=lambda details: details is None
    )


class Unhealthy(BaseModel):
    """``checks`` names each part with ``ok`` or what is wrong with it."""

    status: Literal["unhealthy"] = "unhealthy"
    service: Literal["recording-service"] = "recording-service"
    checks: dict[str, str]


class WebhookAnswer(BaseModel):
    message: Literal["Webhook processed successfully"] = "Webhook processed successfully"


class StreamWebhook(BaseModel):
    """Somebody says that a stream started or ended.

    Raises ``InvalidTask`` for a field that cannot be meant; fields not named here are ignored.
    """

    model_config = ConfigDict(extra="ignore", strict=True)

    event: Literal["stream.started", "stream.ended"]
    stream_id: str = Field(description="One path part of at most 255 bytes")
    stream_key: str = Field(description="One path part of at most 255 bytes")
    user_id: str | None = None
    timestamp: datetime | None = Field(None, description="RFC 3339; now if it is missing")
    hls_path: str | None = Field(None, description="Where the playlist is, if not at its usual key")
    profile: str | None = Field(None, description="Output profile, if not the default one")

    @model_validator(mode="before")
    @classmethod
    def _event_first(cls, body: object) -> object:
        if not isinstance(body, Mapping):
            raise InvalidTask("Body must be a JSON object")
        event = body.get("event")
        if not isinstance(event, str) or event not in _EVENT_KINDS:
            raise InvalidTask("Invalid event type")
        return {"stream_id": None, "stream_key": None, **body}

    @field_validator("stream_id", "stream_key", mode="before")
    @classmethod
    def _stream_names(cls, value: object, info: Any) -> str:
        return check_stream_name(value, info.field_name)

    @field_validator("user_id", "profile", mode="before")
    @classmethod
    def _labels(cls, value: object, info: Any) -> str | None:
        return None if value in (None, "") else check_label(value, info.field_name)

    @field_validator("hls_path", mode="before")
    @classmethod
    def _path(cls, value: object) -> str | None:
        return None if value in (None, "") else check_hls_path(value)

    @field_validator("timestamp", mode="before")
    @classmethod
    def _instant(cls, value: object) -> datetime | None:
        return parse_instant(value, "timestamp", now=datetime.now(UTC))

    def to_event(self, *, received_at: datetime) -> model.StreamEvent:
        return model.StreamEvent(
            kind=_EVENT_KINDS[self.event],
            stream_id=self.stream_id,
            stream_key=self.stream_key,
            user_id=self.user_id,
            occurred_at=self.timestamp or received_at,
            hls_path=self.hls_path,
            profile=self.profile,
            origin=model.Origin.WEBHOOK,
        )


def body_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Of a body that a route reads by itself, for the OpenAPI document, which has what it refers
    to."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    return schema


def _utc(instant: datetime | None) -> datetime | None:
    return None if instant is None else instant.astimezone(UTC)


def _gap(gap: model.Gap) -> Gap:
    return Gap(
        start=gap.start_s,
        duration=gap.duration_s,
        wall_clock=_utc(gap.wall_clock),
        segments=list(gap.segments),
        reason=gap.reason,
    )
