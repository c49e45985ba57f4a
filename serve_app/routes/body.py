"""Bodies that are read by hand: bounded, and of any content type."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from pipeline.errors import InvalidTask
from serve_app.problems import explain

Body = TypeVar("Body", bound=BaseModel)

MAX_BODY_BYTES = 64 * 1024


async def read_body(request: Request) -> bytes:
    """Answers 413 as soon as there is more."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"Body is larger than {MAX_BODY_BYTES} bytes")
    return bytes(body)


def parse_body(model: type[Body], body: bytes) -> Body:
    """Raises ``InvalidTask`` that names the field."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise InvalidTask(explain(error.errors(include_url=False, include_input=False))) from error
