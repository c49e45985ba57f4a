"""What routes share: the services behind them and ids in paths."""

from typing import Annotated, cast
from uuid import UUID

from fastapi import Depends, Path, Request

from pipeline.errors import RecordingNotFound
from serve_app.services import Services


async def _services(request: Request) -> Services:
    return cast("Services", request.app.state.services)


async def _recording_id(
    recording_id: Annotated[str, Path(alias="id", description="A recording's UUID")],
) -> UUID:
    try:
        parsed = UUID(recording_id)
    except ValueError as error:
        raise RecordingNotFound("no UUID") from error
    # UUID() also takes braces and ``urn:uuid:``, which are no ids of ours.
    if str(parsed) != recording_id.lower():
        raise RecordingNotFound("no UUID")
    return parsed


FromServices = Annotated[Services, Depends(_services)]
RecordingId = Annotated[UUID, Depends(_recording_id)]
