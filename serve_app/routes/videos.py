"""The VOD catalogue: recordings as they are shown to viewers."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from starlette.exceptions import HTTPException

from pipeline import model
from pipeline.errors import Conflict, InvalidTask, RecordingNotFound, VideoNotFound
from pipeline.stores import platform
from pipeline.stores.platform import Visibility, WantedVideos
from serve_app.access.audit import note
from serve_app.access.caller import Caller
from serve_app.access.guard import Reader, Writer
from serve_app.problems import guarded
from serve_app.routes.body import parse_body, read_body
from serve_app.routes.common import FromServices, cursor_after, parse_id, read_cursor, seen
from serve_app.schemas import (
    ExternalVideo,
    OneVideo,
    Video,
    VideoChange,
    VideoImport,
    VideoPage,
    body_schema,
)
from serve_app.services import Services
from serve_app.vod_service import import_video

DEFAULT_PAGE, MAX_PAGE, MAX_TEXT = 50, 200, 200

router = APIRouter(tags=["videos"])
Text = Annotated[str | None, Query(max_length=MAX_TEXT, pattern=r"^[^\x00]*$")]


async def _video_id(video_id: Annotated[str, Path(alias="id", description="A UUID")]) -> UUID:
    parsed = parse_id(video_id)
    if parsed is None:
        raise VideoNotFound("no UUID")
    return parsed


async def _seen_video(
    video_id: Annotated[UUID, Depends(_video_id)], services: FromServices, caller: Reader
) -> platform.Video:
    video = await services.platform.video(video_id)
    is_theirs = caller.owner in (None, video.user_id)
    if video.visibility is Visibility.PRIVATE and not is_theirs:
        raise VideoNotFound("private")
    return video


async def _own_video(
    video_id: Annotated[UUID, Depends(_video_id)], services: FromServices, caller: Writer
) -> platform.Video:
    video = await services.platform.video(video_id)
    if caller.owner not in (None, video.user_id):
        raise VideoNotFound("not theirs")
    return video


SeenVideo = Annotated[platform.Video, Depends(_seen_video)]
OwnVideo = Annotated[platform.Video, Depends(_own_video)]


async def _import(request: Request) -> VideoImport:
    """422 for what cannot be meant, as clients of ``/import-recording`` expect."""
    try:
        return parse_body(VideoImport, await read_body(request))
    except InvalidTask as error:
        raise HTTPException(422, str(error)) from error


Import = Annotated[VideoImport, Depends(_import)]
_IMPORT_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": body_schema(VideoImport)}},
    }
}


@router.post(
    "/import-recording",
    status_code=201,
    responses=guarded(404, 409, 413, 422, 502),
    openapi_extra=_IMPORT_BODY,
    response_model=OneVideo | ExternalVideo,
)
async def import_recording(
    caller: Writer, wanted: Import, services: FromServices, request: Request
) -> OneVideo | ExternalVideo:
    """Make a video of a completed recording. Of one that is a video already, it is that one.

    With `VOD_SERVICE_URL` the video is made there: it is told the same and what the recording is,
    with the caller's own token, and what it refuses is answered with its reason.
    """
    recording = await _completed(services, wanted.recording_id, caller)
    url = services.settings.vod_service_url
    if url is None:
        return await _add(services, recording, wanted, caller, request)
    video = await import_video(url, request.headers.get("authorization"), wanted, recording)
    told = parse_id(str(video.get("id", "")))
    if told is not None:
        await services.catalog.link_video(recording.id, told)
    await note(request, caller, "video.import", recording.id, video_id=str(video.get("id")))
    return ExternalVideo(video=video)


@router.post(
    "/videos",
    status_code=201,
    responses=guarded(404, 409, 413, 422),
    openapi_extra=_IMPORT_BODY,
)
async def add_video(
    caller: Writer, wanted: Import, services: FromServices, request: Request
) -> OneVideo:
    """The same in the catalogue that is built in."""
    recording = await _completed(services, wanted.recording_id, caller)
    return await _add(services, recording, wanted, caller, request)


@router.get("/videos", responses=guarded(400))
async def list_videos(
    services: FromServices,
    caller: Reader,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = DEFAULT_PAGE,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before")] = None,
    q: Text = None,
    category: Text = None,
    user_id: Text = None,
) -> VideoPage:
    """Newest first: public ones and the caller's own. `q`: a part of the title, the description or
    the category."""
    wanted = WantedVideos(
        text=q or None, category=category or None, user_id=user_id or None, viewer=caller.owner
    )
    found = await services.platform.videos(wanted, limit=limit + 1, before=read_cursor(cursor))
    page = found[:limit]
    return VideoPage(
        videos=[Video.of(each, await _recording(services, each)) for each in page],
        next_cursor=cursor_after(page[-1]) if len(found) > limit else None,
    )


@router.get("/videos/{id}", responses=guarded(404))
async def get_video(video: SeenVideo, services: FromServices) -> OneVideo:
    """One video. An unlisted one is seen by whoever knows its id."""
    return OneVideo(video=Video.of(video, await _recording(services, video)))


@router.patch("/videos/{id}", responses=guarded(400, 404))
async def change_video(
    video: OwnVideo, change: VideoChange, services: FromServices, caller: Writer, request: Request
) -> OneVideo:
    """Set what is named; null leaves it."""
    told = change.model_dump(mode="json", exclude_none=True)
    changed = await services.platform.change_video(video.id, told) if told else video
    await note(request, caller, "video.change", video.id, **told)
    return OneVideo(video=Video.of(changed, await _recording(services, changed)))


@router.delete("/videos/{id}", status_code=204, responses=guarded(404))
async def delete_video(
    video: OwnVideo, services: FromServices, caller: Writer, request: Request
) -> Response:
    """The recording stays."""
    await services.platform.delete_video(video.id)
    recording = await _recording(services, video)
    if recording is not None and recording.video_id == video.id:
        await services.catalog.link_video(recording.id, None)
    await note(request, caller, "video.delete", video.id)
    return Response(status_code=204)


async def _completed(services: Services, recording_id: UUID, caller: Caller) -> model.Recording:
    recording = await seen(services, recording_id, caller)
    if recording.status is not model.Status.COMPLETED:
        raise Conflict(f"The recording is {recording.status}, not completed")
    return recording


async def _add(
    services: Services,
    recording: model.Recording,
    wanted: VideoImport,
    caller: Caller,
    request: Request,
) -> OneVideo:
    now = datetime.now(UTC)
    video = await services.platform.add_video(
        platform.Video(
            id=uuid4(),
            recording_id=recording.id,
            user_id=recording.user_id,
            title=wanted.title,
            description=wanted.description,
            category=wanted.category,
            visibility=wanted.visibility,
            created_at=now,
            updated_at=now,
        )
    )
    await services.catalog.link_video(recording.id, video.id)
    await note(request, caller, "video.import", recording.id, video_id=str(video.id))
    return OneVideo(video=Video.of(video, recording))


async def _recording(services: Services, video: platform.Video) -> model.Recording | None:
    if video.recording_id is None:
        return None
    try:
        return await services.catalog.get(video.recording_id)
    except RecordingNotFound:
        return None
