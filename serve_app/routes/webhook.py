"""Tasks that arrive by HTTP: somebody says that a stream started or ended."""

import hashlib
import time
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid5

import structlog
from fastapi import APIRouter, Request

from pipeline.profiles import find_profile
from pipeline.tracing import add_span
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
            "required if WEBHOOK_SECRET is set",
        }
    ],
}


@router.post(
    "/webhook/stream", responses=documented(400, 401, 413, 503), openapi_extra=_BODY_SCHEMA
)
async def receive_stream_event(request: Request, services: FromServices) -> WebhookAnswer:
    """Record a stream. The answer comes when the task is durable.

    An event may be sent again, late, or out of order: one broadcast gives one recording.
    """
    body = await read_body(request)
    secret = services.settings.webhook_secret
    if secret is not None:
        check_signature(secret.get_secret_value(), body, request.headers.get(SIGNATURE_HEADER))
    told = parse_body(StreamWebhook, body)
    event = told.to_event(received_at=datetime.now(UTC))
    if secret is not None and told.timestamp is not None:
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
    return WebhookAnswer()
