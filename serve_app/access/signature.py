"""Who may call: the signature of webhooks."""

import hashlib
import hmac

from starlette.exceptions import HTTPException

SIGNATURE_HEADER = "X-Signature"


def check_signature(secret: str, body: bytes, signature: str | None) -> None:
    """Answer 401 unless ``signature`` is ``sha256=`` and the HMAC-SHA256 of ``body`` in hex."""
    if not signature:
        raise _unauthorized(f"Missing {SIGNATURE_HEADER}")
    expected = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), signature.strip().lower().encode()):
        raise _unauthorized("Invalid signature")


def _unauthorized(reason: str) -> HTTPException:
    # RFC 9110 section 11.6.1: a 401 names how to authenticate.
    return HTTPException(401, reason, headers={"WWW-Authenticate": "HMAC-SHA256"})
