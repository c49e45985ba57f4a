"""Tasks that arrive by HTTP: somebody says that a stream started or ended."""

from datetime import UTC, datetime

import structlog
from fastapi import APIRouter, Request
from pydantic import ValidationError

from pipeline.errors import InvalidTask
from pipeline.profiles import find_profile
from serve_app.auth import SIGNATURE_HEADER, check_signature
from serve_app.problems import documented, explain
from serve_app.routes.body import read_body
from serve_app.routes.common import FromServices
from serve_app.schemas import StreamWebhook, WebhookAnswer

router = APIRouter(tags=["tasks"])
_log = structlog.get_logger(__name__)

# The body is read by hand, since its signature covers the bytes and any content type is taken.
_BODY_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": StreamWebhook.model_json_schema()}},
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
    event = _parse(body).to_event(received_at=datetime.now(UTC))
    if event.profile is not None:
        find_profile(event.profile, services.settings.profiles)
    accepted = await services.submit(event)
    _log.info(
        "webhook accepted",
        kind=event.kind.value,
        stream_id=event.stream_id,
        recording_id=accepted.recording_id and str(accepted.recording_id),
        outcome=accepted.outcome,
    )
    return WebhookAnswer()


def _parse(body: bytes) -> StreamWebhook:
    try:
        return StreamWebhook.model_validate_json(body)
    except ValidationError as error:
        raise InvalidTask(explain(error.errors(include_url=False, include_input=False))) from error
