"""Tasks that arrive by HTTP: somebody says that a stream started or ended."""

import hashlib
import time
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid5

import structlog
from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException

from pipeline.profiles import find_profile
from pipeline.stores.folds import in_words
from pipeline.tasks import NOT_THEIRS
from pipeline.tracing import add_span
from serve_app.access.caller import Caller, Scope
from serve_app.access.guard import Requires, guard_of
from serve_app.access.signature import SIGNATURE_HEADER, check_signature
from serve_app.problems import documented
from serve_app.routes.body import parse_body, read_body
from serve_app.routes.common import FromServices
from serve_app.schemas import StreamWebhook, WebhookAnswer, body_schema

router = APIRouter(tags=["tasks"])
_SIGNED = UUID("5f0d0d3c-6a55-4d0e-9d1b-0a4c6d1f7c11")
_log = structlog.get_logger(__name__)

# The body is read by hand, since its signature covers the bytes and any content type is taken.
_BODY_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": body_schema(StreamWebhook)}},
    },
    "parameters": [
        {
            "name": SIGNATURE_HEADER,
            "in": "header",
            "required": False,
            "schema": {"type": "string"},
            "description": "`sha256=` and the HMAC-SHA256 of the body in hex; "
            "required if WEBHOOK_SECRET is set, but of a token with scope write",
        }
    ],
}


@router.post(
    "/webhook/stream", responses=documented(400, 401, 403, 413, 503), openapi_extra=_BODY_SCHEMA
)
async def receive_stream_event(request: Request, services: FromServices) -> WebhookAnswer:
    """Record a stream. The answer comes when the task is durable.

    An event may be sent again, late, or out of order: one broadcast gives one recording.
    """
    body = await read_body(request)
    secret, signature = services.settings.webhook_secret, request.headers.get(SIGNATURE_HEADER)
    person = await _person(request) if secret is not None and signature is None else None
    is_signed = secret is not None and person is None
    if is_signed:
        assert secret is not None
        check_signature(secret.get_secret_value(), body, signature)
    told = parse_body(StreamWebhook, body)
    event = told.to_event(received_at=datetime.now(UTC))
    if person is not None and person.owner is not None:
        event = replace(event, user_id=person.owner, only_own=True)
    if is_signed and told.timestamp is not None:
        # Whoever has caught a signed body can do no more with it than its sender, sending it again.
        event = replace(event, request_id=uuid5(_SIGNED, hashlib.sha256(body).hexdigest()))
    if event.profile is not None:
        find_profile(event.profile, services.settings.profiles)
    begin = time.monotonic()
    accepted = await services.submit(event)
    if accepted.recording_id is not None:
        add_span(
            "task", accepted.recording_id, time.monotonic() - begin,
            kind=event.kind.value, by="webhook",
        )  # fmt: skip
    _log.info(
        "webhook accepted",
        kind=event.kind.value,
        stream_id=event.stream_id,
        recording_id=accepted.recording_id and str(accepted.recording_id),
        outcome=accepted.outcome,
    )
    if accepted.outcome == in_words(NOT_THEIRS):
        raise HTTPException(403, "The stream is another user's, or nobody's")
    return WebhookAnswer()


async def _person(request: Request) -> Caller | None:
    """Who records by hand, as the page lets those who are signed in; None for somebody who has not
    shown who they are. Answers 401, 403 to those who may not."""
    guard = guard_of(request)
    if not (guard.is_on and guard.has_token(request)):
        return None
    return await Requires(Scope.WRITE)(request)
