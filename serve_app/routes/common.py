"""What routes share: the services behind them, ids in paths, recordings that callers may see."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from typing import Annotated, Protocol, cast
from uuid import UUID

from fastapi import Depends, Path, Request
from starlette.exceptions import HTTPException

from pipeline.errors import RecordingNotFound
from pipeline.model import Recording
from serve_app.access.caller import Caller
from serve_app.access.guard import Reader, Writer
from serve_app.services import Services

_NOT_THEIRS = "not theirs"


async def _services(request: Request) -> Services:
    return cast("Services", request.app.state.services)


def parse_id(text: str) -> UUID | None:
    try:
        parsed = UUID(text)
    except ValueError:
        return None
    # UUID() also takes braces and ``urn:uuid:``, which are no ids of ours.
    return parsed if str(parsed) == text.lower() else None


async def _recording_id(
    recording_id: Annotated[str, Path(alias="id", description="A recording's UUID")],
) -> UUID:
    parsed = parse_id(recording_id)
    if parsed is None:
        raise RecordingNotFound("no UUID")
    return parsed


FromServices = Annotated[Services, Depends(_services)]
RecordingId = Annotated[UUID, Depends(_recording_id)]


async def seen(services: Services, recording_id: UUID, caller: Caller) -> Recording:
    """Somebody else's is not there."""
    recording = await services.catalog.get(recording_id)
    if not caller.sees(recording):
        raise RecordingNotFound(_NOT_THEIRS)
    return recording


async def _seen(recording_id: RecordingId, services: FromServices, caller: Reader) -> Recording:
    return await seen(services, recording_id, caller)


async def _own(recording_id: RecordingId, services: FromServices, caller: Writer) -> Recording:
    return await seen(services, recording_id, caller)


SeenRecording = Annotated[Recording, Depends(_seen)]
"""That the caller may read."""
OwnRecording = Annotated[Recording, Depends(_own)]
"""That the caller may change."""


class Listed(Protocol):
    @property
    def id(self) -> UUID: ...

    @property
    def created_at(self) -> datetime: ...


def cursor_after(last: Listed) -> str:
    """Where the next page of a list goes on."""
    place = f"{last.created_at.isoformat()}|{last.id}"
    return urlsafe_b64encode(place.encode()).decode().rstrip("=")


def read_cursor(cursor: str | None) -> tuple[datetime, UUID] | None:
    if cursor is None:
        return None
    try:
        place = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        created_at, _, last_id = place.partition("|")
        return datetime.fromisoformat(created_at).astimezone(UTC), UUID(last_id)
    except (ValueError, OverflowError) as error:
        raise HTTPException(400, "Invalid cursor") from error
