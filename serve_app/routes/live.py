"""What has been recorded so far, from the start, while the recording goes on."""

from functools import partial
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Path, Request
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from pipeline.media import live_playlist
from pipeline.model import Segment
from serve_app.live_view import LiveView, LiveViews, NotLive
from serve_app.problems import guarded
from serve_app.routes.common import FromServices, SeenRecording
from serve_app.services import Services

_PLAYLIST_TYPE = "application/vnd.apple.mpegurl"
_PLAYLIST = {
    200: {"content": {_PLAYLIST_TYPE: {}}, "description": "An HLS playlist (RFC 8216)"},
    **guarded(404),
}
_MEDIA_PLAYLIST = _PLAYLIST | guarded(400, 404)
_ELSEWHERE = {
    307: {"description": "`Location` is where the object store has it, for an hour"},
    **guarded(400, 404),
}
Number = Annotated[int, Path(ge=0, le=2**31)]

router = APIRouter(tags=["live"])


async def _view(recording: SeenRecording, request: Request) -> LiveView:
    try:
        return await cast("LiveViews", request.app.state.live).get(recording.id)
    except NotLive as error:
        raise HTTPException(404, error.message) from error


View = Annotated[LiveView, Depends(_view)]


async def _segment(playlist: Number, number: Number, view: View) -> Segment:
    segments = _of(view, playlist)
    if number >= len(segments):
        raise HTTPException(404, "There is no such segment")
    return segments[number]


LiveSegment = Annotated[Segment, Depends(_segment)]
# A route that tells where a file of a segment is.
_file = partial(router.get, responses=_ELSEWHERE, status_code=307, response_class=RedirectResponse)


@router.get("/recordings/{id}/live.m3u8", responses=_PLAYLIST, response_class=Response)
async def get_live_playlist(view: View) -> Response:
    """An EVENT playlist of what is recorded so far; a Master Playlist where sound is apart.

    With its end, it is there for `RECONNECT_WINDOW` after that. 404 before anything is there, and
    afterwards.
    """
    if view.opened.sounds:
        return _answer(live_playlist.render_master(view.segments, view.opened.sounds))
    return _answer(live_playlist.render(view.segments[0], folder="live/0/", ended=view.ended))


@router.get(
    "/recordings/{id}/live/{playlist}.m3u8", responses=_MEDIA_PLAYLIST, response_class=Response
)
async def get_live_media_playlist(playlist: Number, view: View) -> Response:
    """One of the playlists that the Master Playlist names."""
    segments = _of(view, playlist)
    return _answer(live_playlist.render(segments, folder=f"{playlist}/", ended=view.ended))


@_file("/recordings/{id}/live/{playlist}/{number}.{extension}")
async def get_live_segment(
    segment: LiveSegment,
    extension: str,  # noqa: ARG001 - for players that go by names
    services: FromServices,
) -> Response:
    """Where a segment is."""
    return _redirect(services, None if segment.is_gap else segment.uri)


@_file("/recordings/{id}/live/{playlist}/{number}/init.mp4")
async def get_live_init(segment: LiveSegment, services: FromServices) -> Response:
    """Where a segment's init (EXT-X-MAP) is."""
    return _redirect(services, segment.init.uri if segment.init else None)


@_file("/recordings/{id}/live/{playlist}/{number}/key")
async def get_live_key(segment: LiveSegment, services: FromServices) -> Response:
    """Where a segment's key (EXT-X-KEY) is."""
    return _redirect(services, segment.key.uri if segment.key else None)


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
