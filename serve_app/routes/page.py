"""The web page: static files, and what they need to know about this installation."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from serve_app.page_files import TYPES, page_files
from serve_app.problems import documented
from serve_app.ranges import is_known
from serve_app.routes.common import FromServices
from serve_app.version import version

_HEADERS = {
    # Asked about each time, so that a new version is seen at once; answered with 304.
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
}
_FILE: dict[int | str, dict[str, Any]] = {
    200: {"content": {kind: {} for kind in TYPES.values()}, "description": "A file"},
    304: {"description": "It is as `If-None-Match` says"},
}

router = APIRouter(tags=["page"])

IfNoneMatch = Annotated[str | None, Header()]
AcceptEncoding = Annotated[str, Header()]


class PageConfig(BaseModel):
    """What the page shows of this installation."""

    version: str
    dashboard_url: str | None = Field(description="The Ray dashboard")
    grafana_url: str | None
    auth: bool = Field(description="Whether requests need a token")
    webhooks_signed: bool = Field(description="Whether webhooks need a signature")
    profile: str = Field(description="The output profile of tasks that name none")
    profiles: list[str]


@router.get("/", response_class=Response, responses=_FILE | documented())
async def get_page(
    if_none_match: IfNoneMatch = None, accept_encoding: AcceptEncoding = ""
) -> Response:
    """The web page."""
    return _answer("index.html", if_none_match, accept_encoding)


@router.get("/ui/config.json", responses=documented())
async def get_page_config(services: FromServices) -> PageConfig:
    """What the page needs to know before it asks for anything else; needs no token."""
    settings = services.settings
    return PageConfig(
        version=version(),
        dashboard_url=services.dashboard_url,
        grafana_url=settings.grafana_url,
        auth=settings.has_access_control,
        webhooks_signed=settings.webhook_secret is not None,
        profile=settings.profile,
        profiles=sorted(settings.profiles),
    )


@router.get("/ui/{path:path}", response_class=Response, responses=_FILE | documented(404))
async def get_page_file(
    path: Annotated[str, Path(description="A file of the page")],
    if_none_match: IfNoneMatch = None,
    accept_encoding: AcceptEncoding = "",
) -> Response:
    """Scripts, styles and pictures of the web page."""
    return _answer(path, if_none_match, accept_encoding)


def _answer(path: str, if_none_match: str | None, accept_encoding: str) -> Response:
    file = page_files().get(path)
    if file is None:
        raise HTTPException(404, "There is no such file")
    # Weak: the same content, packed or not (RFC 9110 section 8.8.1).
    etag = f"W/{file.etag}"
    headers = {**_HEADERS, "ETag": etag}
    if is_known(if_none_match, file.etag):
        return Response(status_code=304, headers=headers)
    if "gzip" in accept_encoding and len(file.packed) < len(file.body):
        headers["Content-Encoding"] = "gzip"
        return Response(file.packed, media_type=file.media_type, headers=headers)
    return Response(file.body, media_type=file.media_type, headers=headers)
