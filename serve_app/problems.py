"""Errors as answers: always ``{"error": "..."}``, the status by whose fault it is, nothing leaked.

What callers did wrong is explained to them; what is wrong on our side goes to the log, and the
caller learns only which part is away or, for the unexpected, the id under which it was logged.
"""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline import errors
from serve_app.schemas import Problem

RETRY_AFTER_S = 5
# What the VOD service says of the caller's request and token is for the caller.
_PASSED_ON = frozenset({401, 403, 404, 409, 422})
ERROR_ID_HEADER = "X-Error-Id"

_log = structlog.get_logger(__name__)

# What is said, where it is not the error's own message.
_PLAIN: dict[type[errors.VodrayError], tuple[int, str]] = {
    errors.RecordingNotFound: (404, "Recording not found"),
    errors.VideoNotFound: (404, "Video not found"),
    errors.ObjectMissing: (404, "There is no such file"),
    errors.StreamNotFound: (404, ""),
    errors.Conflict: (409, ""),
    errors.NotInstalled: (501, ""),
    errors.IngestFull: (503, ""),
}
_OUR_SIDE: dict[type[errors.VodrayError], str] = {
    errors.CatalogUnavailable: "Database unavailable",
    errors.StoreError: "Object store unavailable",
    errors.BrokerUnavailable: "Message broker unavailable",
    errors.WorkerLost: "Workers unavailable",
    errors.AuthUnavailable: "Auth service unavailable",
}
_DESCRIPTIONS = {
    400: "The request cannot be meant; the message names what is wrong",
    401: "The token or the signature is missing or no good",
    403: "The token is not good for this",
    404: "There is no such thing",
    409: "The state of the thing does not allow it",
    412: "The object is another version than was asked for",
    413: "The body is too large",
    416: "The range is not within the object",
    422: "A field is missing or cannot be meant",
    429: "Too many requests; `Retry-After` says when to try again",
    500: "Unexpected; `X-Error-Id` is in the log",
    501: "This part of the service is not installed; the message says how it becomes so",
    502: "The external VOD service refuses or fails; the message says how",
    503: "A part of the service is away; `Retry-After` says when to try again",
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's ``responses``: these errors, and those that any route can answer."""
    return {
        status: {"model": Problem, "description": _DESCRIPTIONS[status]}
        for status in (*statuses, 429, 500)
    }


def guarded(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The same for a route that needs a token and the database."""
    return documented(401, 403, 503, *statuses)


def install(app: FastAPI) -> None:
    """Make ``app`` answer every error in our form."""
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(RequestValidationError, _answer_validation)
    app.add_exception_handler(errors.VodrayError, _answer_vodray)
    app.add_middleware(CatchUnexpected)


def problem(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": message}, status_code=status, headers=headers)


class CatchUnexpected:
    """Answers 500 for what no handler knows, and logs it under the id that the answer carries."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except ClientDisconnect:
            _log.debug("client went away", path=scope["path"])
        except Exception:
            error_id = str(uuid4())
            _log.exception("unexpected error", error_id=error_id, path=scope["path"])
            if started:
                raise
            answer = problem(500, "Internal server error", {ERROR_ID_HEADER: error_id})
            await answer(scope, receive, send)


async def _answer_http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    message = (
        "Not found" if error.status_code == 404 and error.detail == "Not Found" else error.detail
    )
    return problem(error.status_code, message, dict(error.headers or {}))


async def _answer_validation(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return problem(400, explain(error.errors()))


async def _answer_vodray(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.VodrayError)
    for kind, (status, said) in _PLAIN.items():
        if isinstance(error, kind):
            again = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else None
            return problem(status, said or str(error), again)
    if isinstance(error, errors.VodServiceFailed):
        _log.warning("vod service failed", path=request.url.path, reason=str(error))
        return problem(error.status if error.status in _PASSED_ON else 502, str(error))
    if error.fault is errors.Fault.CALLER:
        _log.info("refused", path=request.url.path, reason=str(error))
        return problem(400, str(error))
    if error.fault is errors.Fault.SOURCE:
        return problem(422, str(error))
    for kind, message in _OUR_SIDE.items():
        if isinstance(error, kind):
            _log.warning("part away", path=request.url.path, reason=str(error))
            return problem(503, message, {"Retry-After": str(RETRY_AFTER_S)})
    raise error


def explain(found: Sequence[Any]) -> str:
    """The first of pydantic's complaints as one line that names the field."""
    first = found[0]
    if first["type"] == "json_invalid":
        return "Body is no valid JSON"
    field = ".".join(str(part) for part in first["loc"] if part not in ("query", "path", "body"))
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"Invalid {field}: {message}" if field else f"Invalid body: {message}"
