"""A session: a token kept in a cookie, for the web page and what it plays."""

from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from serve_app.access.audit import note
from serve_app.access.caller import Caller
from serve_app.access.guard import COOKIE, guard_of
from serve_app.problems import documented
from serve_app.schemas import Session, TokenBody

router = APIRouter(tags=["access"])


@router.get("/session", responses=documented(503))
async def get_session(request: Request) -> Session:
    """Who is logged in; without access control everybody may do everything."""
    guard = guard_of(request)
    if not guard.is_on:
        return Session(auth=False)
    try:
        return _told(await guard.caller(request))
    except HTTPException as error:
        if error.status_code != 401:
            raise
        return Session(auth=True)


@router.post("/session", responses=documented(400, 401, 503))
async def log_in(body: TokenBody, request: Request, response: Response) -> Session:
    """Keep a token in a cookie that scripts cannot read and other sites cannot use."""
    guard = guard_of(request)
    if not guard.is_on:
        return Session(auth=False)
    caller = await guard.check(body.token.strip(), request)
    assert caller.expires_at is not None
    response.set_cookie(
        COOKIE,
        body.token.strip(),
        max_age=max(0, int((caller.expires_at - datetime.now(UTC)).total_seconds())),
        httponly=True,
        samesite="strict",
        secure="https" in (request.url.scheme, request.headers.get("x-forwarded-proto")),
    )
    return _told(caller)


@router.delete("/session", status_code=204, responses=documented())
async def log_out() -> Response:
    """Forget the cookie; the token stays good until it expires or is revoked."""
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


@router.post("/tokens/revoke", status_code=204, responses=documented(400, 401, 403, 503))
async def revoke_token(body: TokenBody, request: Request) -> Response:
    """Make a token no good from now on, within ten seconds everywhere. Whoever has it may."""
    guard = guard_of(request)
    if not guard.is_on:
        raise HTTPException(400, "There is no access control: no token is needed for anything")
    caller = await guard.check(body.token.strip(), request)
    await guard.revoke(body.token.strip(), caller)
    await note(request, caller, "token.revoke", caller.token_id or "unnamed")
    return Response(status_code=204)


def _told(caller: Caller) -> Session:
    return Session(
        auth=True,
        user_id=caller.user_id,
        scopes=sorted(caller.scopes),
        expires_at=caller.expires_at,
    )
