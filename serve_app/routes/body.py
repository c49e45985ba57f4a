"""Bodies that are read by hand: bounded, and of any content type."""

from starlette.exceptions import HTTPException
from starlette.requests import Request

MAX_BODY_BYTES = 64 * 1024


async def read_body(request: Request) -> bytes:
    """Answers 413 as soon as there is more."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"Body is larger than {MAX_BODY_BYTES} bytes")
    return bytes(body)
