"""What a completed recording consists of: the MP4, HLS over it, images."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import PurePosixPath
from typing import Annotated, Any, cast

import httpx
from fastapi import APIRouter, Query, Request
from fastapi import Path as PathParameter
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from pipeline.connections import tls_context
from pipeline.errors import ObjectMissing, StoreUnavailable
from pipeline.model import Recording
from pipeline.naming import is_file_of
from pipeline.stores.objects import ObjectInfo
from serve_app.problems import guarded
from serve_app.ranges import OutOfRange, Span, asked_span, is_known, is_other
from serve_app.routes.common import FromServices, SeenRecording
from serve_app.schemas import Address
from serve_app.served import Served
from serve_app.services import Services

DEFAULT_EXPIRY_S, LONGEST_EXPIRY_S = 3600, 7 * 24 * 3600
# A viewer may pause for long; a playlist that has an end is not read again.
_PLAYED_S = 12 * 3600
_MAX_TEXT_BYTES, _MAX_IMAGE_BYTES = 16 * 2**20, 8 * 2**20
_PIECE_BYTES = 256 * 1024
_TIMEOUT = httpx.Timeout(10.0, read=30.0)
_PLAYLIST_TYPE = "application/vnd.apple.mpegurl"
_URI = re.compile(r'URI="([^"]*)"')
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,100}$"

Responses = dict[int | str, dict[str, Any]]
router = APIRouter(tags=["files"])
_MEDIA: Responses = {
    200: {"content": {"video/mp4": {"schema": {"type": "string", "format": "binary"}}}},
    206: {"description": "A part of it", "content": {"video/mp4": {}}},
    304: {"description": "The caller has it"},
    **guarded(404, 412, 416),
}
# Read by hand: what is malformed in them is ignored (RFC 9110), not refused.
_CONDITIONS = {
    "parameters": [
        {
            "name": name,
            "in": "header",
            "required": False,
            "schema": {"type": "string"},
            "description": what,
        }
        for name, what in (
            ("Range", "One range of bytes"),
            ("If-Range", "The range only of this `ETag`, else all of it"),
            ("If-None-Match", "304 for this `ETag`"),
            ("If-Match", "412 for another `ETag`"),
        )
    ]
}
_PLAYLIST: Responses = {
    200: {"content": {_PLAYLIST_TYPE: {"schema": {"type": "string"}}}},
    **guarded(400, 404),
}
_IMAGE: Responses = {
    200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
    304: {"description": "The caller has it"},
    **guarded(404),
}
_CUES: Responses = {200: {"content": {"text/vtt": {"schema": {"type": "string"}}}}, **guarded(404)}


@router.get("/recordings/{id}/url", responses=guarded(400, 404))
async def get_url(
    recording: SeenRecording,
    services: FromServices,
    expires: Annotated[
        int, Query(ge=1, le=LONGEST_EXPIRY_S, description="Seconds")
    ] = DEFAULT_EXPIRY_S,
) -> Address:
    """Where the object store has the MP4, for whoever has this address."""
    bucket, key = _main(recording)
    return Address(
        url=services.presign(bucket, key, expires),
        expires_at=datetime.now(UTC) + timedelta(seconds=expires),
    )


@router.head(
    "/recordings/{id}/stream",
    responses=_MEDIA,
    response_class=Response,
    name="describe_stream",
    openapi_extra=_CONDITIONS,
)
@router.get(
    "/recordings/{id}/stream",
    responses=_MEDIA,
    response_class=Response,
    openapi_extra=_CONDITIONS,
)
async def stream(recording: SeenRecording, services: FromServices, request: Request) -> Response:
    """The MP4 itself, also in parts (RFC 9110 section 14)."""
    bucket, key = _main(recording)
    info = await asyncio.to_thread(services.objects.stat, bucket, key)
    etag = f'"{info.etag}"'
    headers = {"ETag": etag, "Accept-Ranges": "bytes", "Cache-Control": "private, max-age=3600"}
    if info.last_modified is not None:
        headers["Last-Modified"] = _http_date(info.last_modified)
    if is_other(request.headers, etag):
        raise HTTPException(412, "It is another version")
    if is_known(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    try:
        span = asked_span(request.headers, info.size_bytes, etag)
    except OutOfRange as error:
        size = f"bytes */{info.size_bytes}"
        raise HTTPException(416, "The range is not within it", {"Content-Range": size}) from error
    return await _send(recording, services, request, info, span, headers)


@router.get("/recordings/{id}/hls/{name}.m3u8", responses=_PLAYLIST, response_class=Response)
async def get_playlist(
    recording: SeenRecording,
    name: Annotated[str, PathParameter(pattern=_NAME, description="`master`, or a rendition")],
    services: FromServices,
    request: Request,
) -> Response:
    """HLS over the same objects: what it names is read from the object store, for 12 hours."""
    folder = _folder(recording)
    if not is_file_of(f"{name}.m3u8", [r.name for r in recording.renditions]):
        raise ObjectMissing("no playlist of it")
    bucket = _main(recording)[0]
    data = await asyncio.to_thread(
        partial(services.objects.get, bucket, f"{folder}/{name}.m3u8", max_bytes=_MAX_TEXT_BYTES)
    )
    if name == "master":
        _served(request).view(recording.id)
    # Each segment names the same object.
    place = cache(partial(_placed, services, bucket, folder))
    return Response(
        _with_places(data.decode(), place),
        media_type=_PLAYLIST_TYPE,
        headers={"Cache-Control": "private, max-age=300"},
    )


@router.get("/recordings/{id}/thumbnail", responses=_IMAGE, response_class=Response)
async def get_thumbnail(
    recording: SeenRecording, services: FromServices, request: Request
) -> Response:
    """The poster; 404 where none could be made."""
    if recording.thumbnail_path is None:
        raise ObjectMissing("no poster")
    bucket, _, key = recording.thumbnail_path.partition("/")
    return await _image(services, request, bucket, key)


@router.get("/recordings/{id}/storyboard.vtt", responses=_CUES, response_class=Response)
async def get_storyboard(recording: SeenRecording, services: FromServices) -> Response:
    """Pictures for the time line, as WebVTT; they are beside it."""
    key = f"{_folder(recording)}/storyboard.vtt"
    data = await asyncio.to_thread(
        partial(services.objects.get, _main(recording)[0], key, max_bytes=_MAX_TEXT_BYTES)
    )
    return Response(data, media_type="text/vtt", headers={"Cache-Control": "private, max-age=300"})


@router.get(
    "/recordings/{id}/storyboard-{number}.jpg",
    responses=_IMAGE | guarded(400),
    response_class=Response,
)
async def get_storyboard_sheet(
    recording: SeenRecording,
    number: Annotated[str, PathParameter(pattern=r"^\d{1,6}$")],
    services: FromServices,
    request: Request,
) -> Response:
    """A sheet of pictures that `storyboard.vtt` names."""
    key = f"{_folder(recording)}/storyboard-{number}.jpg"
    return await _image(services, request, _main(recording)[0], key)


async def _image(services: Services, request: Request, bucket: str, key: str) -> Response:
    info = await asyncio.to_thread(services.objects.stat, bucket, key)
    headers = {"ETag": f'"{info.etag}"', "Cache-Control": "private, max-age=3600"}
    if is_known(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    data = await asyncio.to_thread(
        partial(services.objects.get, bucket, key, max_bytes=_MAX_IMAGE_BYTES)
    )
    return Response(data, media_type="image/jpeg", headers=headers)


async def _send(
    recording: Recording,
    services: Services,
    request: Request,
    info: ObjectInfo,
    span: Span | None,
    headers: dict[str, str],
) -> Response:
    bucket, key = _main(recording)
    kind = "audio/mp4" if key.endswith(".m4a") else "video/mp4"
    length = info.size_bytes if span is None else span.length
    headers |= {"Content-Length": str(length), "Content-Disposition": _disposition(recording, key)}
    status = 200
    if span is not None:
        status = 206
        headers["Content-Range"] = f"bytes {span.first}-{span.last}/{info.size_bytes}"
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=kind)
    served = _served(request)
    if span is None or span.first == 0:
        served.view(recording.id)
    url = services.objects.presign_get(bucket, key, expires_s=DEFAULT_EXPIRY_S)
    pieces = _pieces(url, span or Span(0, info.size_bytes - 1), f'"{info.etag}"')
    # Its first piece is there before the head is sent: a store that is away gives a clear answer.
    first = await anext(pieces, b"")

    async def body() -> AsyncIterator[bytes]:
        try:
            served.sent(recording.id, len(first))
            yield first
            async for piece in pieces:
                served.sent(recording.id, len(piece))
                yield piece
        finally:
            await pieces.aclose()

    return StreamingResponse(body(), status_code=status, headers=headers, media_type=kind)


async def _pieces(url: str, span: Span, etag: str) -> AsyncGenerator[bytes]:
    """Of the object, unless it is another one by now."""
    asked = {"Range": f"bytes={span.first}-{span.last}", "If-Match": etag}
    try:
        async with (
            # Our own store is behind no proxy that the environment may name.
            httpx.AsyncClient(timeout=_TIMEOUT, verify=tls_context(), trust_env=False) as client,
            client.stream("GET", url, headers=asked) as answer,
        ):
            if answer.status_code not in (200, 206):
                raise StoreUnavailable(f"The object store answers {answer.status_code}")
            async for piece in answer.aiter_bytes(_PIECE_BYTES):
                yield piece
    except httpx.HTTPError as error:
        raise StoreUnavailable(f"The object store does not answer: {error}") from error


def _with_places(playlist: str, place: Callable[[str], str]) -> str:
    """Each address in it replaced."""
    lines = []
    for line in playlist.splitlines():
        if line.startswith("#"):
            lines.append(_URI.sub(lambda found: f'URI="{place(found[1])}"', line))
        else:
            lines.append(place(line) if line else line)
    return "\n".join([*lines, ""])


def _placed(services: Services, bucket: str, folder: str, uri: str) -> str:
    """Playlists are ours, everything else the object store's."""
    if uri.endswith(".m3u8"):
        return uri
    key = str(PurePosixPath(folder) / uri)
    if uri.startswith("../"):
        key = str(PurePosixPath(folder).parent / uri.removeprefix("../"))
    return services.presign(bucket, key, _PLAYED_S)


def _main(recording: Recording) -> tuple[str, str]:
    """``(bucket, key)`` of the MP4."""
    if recording.file_path is None:
        raise HTTPException(404, f"No file yet: the recording is {recording.status}")
    bucket, _, key = recording.file_path.partition("/")
    return bucket, key


def _folder(recording: Recording) -> str:
    """Of the files beside the MP4."""
    return str(PurePosixPath(_main(recording)[1]).with_suffix(""))


def _disposition(recording: Recording, key: str) -> str:
    name = re.sub(r"[^A-Za-z0-9._ -]", "_", recording.title or "") or PurePosixPath(key).stem
    return f'inline; filename="{name}{PurePosixPath(key).suffix}"'


def _http_date(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")


def _served(request: Request) -> Served:
    return cast("Served", request.app.state.served)
