"""What has been recorded so far, from the start, while the recording goes on."""

from typing import Annotated, cast

from fastapi import APIRouter, Path, Request
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from pipeline.media import live_playlist
from pipeline.model import Segment
from serve_app.live_view import LiveView, LiveViews, NotLive
from serve_app.problems import documented
from serve_app.routes.common import FromServices, RecordingId
from serve_app.services import Services

_PLAYLIST_TYPE = "application/vnd.apple.mpegurl"
_PLAYLIST = {
    200: {"content": {_PLAYLIST_TYPE: {}}, "description": "An HLS playlist (RFC 8216)"},
    **documented(404, 503),
}
_MEDIA_PLAYLIST = _PLAYLIST | documented(400)
_ELSEWHERE = {
    307: {"description": "`Location` is where the object store has it, for an hour"},
    **documented(400, 404, 503),
}
Number = Annotated[int, Path(ge=0, le=2**31)]

router = APIRouter(tags=["live"])


@router.get("/recordings/{id}/live.m3u8", responses=_PLAYLIST, response_class=Response)
async def get_live_playlist(recording_id: RecordingId, request: Request) -> Response:
    """An EVENT playlist of what is recorded so far; a Master Playlist where sound is apart.

    404 before anything is there, and once the recording is final.
    """
    view = await _view(recording_id, request)
    if view.opened.sounds:
        return _answer(live_playlist.render_master(view.segments, view.opened.sounds))
    return _answer(live_playlist.render(view.segments[0], folder="live/0/", ended=view.ended))


@router.get(
    "/recordings/{id}/live/{playlist}.m3u8", responses=_MEDIA_PLAYLIST, response_class=Response
)
async def get_live_media_playlist(
    recording_id: RecordingId, playlist: Number, request: Request
) -> Response:
    """One of the playlists that the Master Playlist names."""
    view = await _view(recording_id, request)
    segments = _of(view, playlist)
    return _answer(live_playlist.render(segments, folder=f"{playlist}/", ended=view.ended))


@router.get(
    "/recordings/{id}/live/{playlist}/{number}.{extension}",
    responses=_ELSEWHERE,
    status_code=307,
    response_class=RedirectResponse,
)
async def get_live_segment(
    recording_id: RecordingId,
    playlist: Number,
    number: Number,
    extension: str,  # noqa: ARG001 - for players that go by names
    request: Request,
    services: FromServices,
) -> Response:
    """Where a segment is."""
    segment = await _segment(recording_id, playlist, number, request)
    return _redirect(services, None if segment.is_gap else segment.uri)


@router.get(
    "/recordings/{id}/live/{playlist}/{number}/init.mp4",
    responses=_ELSEWHERE,
    status_code=307,
    response_class=RedirectResponse,
)
async def get_live_init(
    recording_id: RecordingId,
    playlist: Number,
    number: Number,
    request: Request,
    services: FromServices,
) -> Response:
    """Where a segment's init (EXT-X-MAP) is."""
    segment = await _segment(recording_id, playlist, number, request)
    return _redirect(services, segment.init.uri if segment.init else None)


@router.get(
    "/recordings/{id}/live/{playlist}/{number}/key",
    responses=_ELSEWHERE,
    status_code=307,
    response_class=RedirectResponse,
)
async def get_live_key(
    recording_id: RecordingId,
    playlist: Number,
    number: Number,
    request: Request,
    services: FromServices,
) -> Response:
    """Where a segment's key (EXT-X-KEY) is."""
    segment = await _segment(recording_id, playlist, number, request)
    return _redirect(services, segment.key.uri if segment.key else None)


async def _view(recording_id: RecordingId, request: Request) -> LiveView:
    try:
        return await cast("LiveViews", request.app.state.live).get(recording_id)
    except NotLive as error:
        raise HTTPException(404, error.message) from error


async def _segment(
    recording_id: RecordingId, playlist: int, number: int, request: Request
) -> Segment:
    segments = _of(await _view(recording_id, request), playlist)
    if number >= len(segments):
        raise HTTPException(404, "There is no such segment")
    return segments[number]


def _of(view: LiveView, playlist: int) -> list[Segment]:
    if playlist >= len(view.segments):
        raise HTTPException(404, "There is no such playlist")
    return view.segments[playlist]


def _answer(playlist: str) -> Response:
    return Response(playlist, media_type=_PLAYLIST_TYPE, headers={"Cache-Control": "no-cache"})


def _redirect(services: Services, ref: str | None) -> Response:
    if not ref:
        raise HTTPException(404, "There is nothing at this place of the stream")
    return RedirectResponse(services.address(ref), headers={"Cache-Control": "no-store"})
