"""The public keys of the platform's auth service (RFC 7517), fetched when needed and kept."""

import asyncio
import json
import time
from typing import Any

import httpx
import jwt
import structlog

from pipeline.errors import AuthUnavailable

_KEEP_S = 600.0
# Whoever makes up key ids must not make us ask for each of them.
_ASK_AGAIN_S = 15.0
_TIMEOUT_S = 5.0
_MAX_BYTES = 256 * 1024
# RFC 7518 section 6.1, RFC 8037.
_KINDS = {"RS256": "RSA", "ES256": "EC", "EdDSA": "OKP"}

_log = structlog.get_logger(__name__)


class KeySet:
    """Keys by id. Those that are known stay good while the auth service is away."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._keys: list[jwt.PyJWK] = []
        self._asked_at = self._got_at = float("-inf")
        self._asking = asyncio.Lock()

    async def find(self, key_id: object, algorithm: str) -> Any:
        """The key for that algorithm, None if there is none. Raises ``AuthUnavailable`` if none was
        ever had. A token without a key's id can only mean the one that there is."""
        async with self._asking:
            now = time.monotonic()
            known = self._find(key_id, algorithm)
            is_due = known is None or now - self._got_at > _KEEP_S
            if is_due and now - self._asked_at > _ASK_AGAIN_S:
                self._asked_at = now
                await self._ask()
        if not self._keys:
            raise AuthUnavailable(f"The keys of {self._url} cannot be had")
        return self._find(key_id, algorithm)

    def _find(self, key_id: object, algorithm: str) -> Any:
        usable = [
            key
            for key in self._keys
            if key.key_type == _KINDS[algorithm]
            and key.public_key_use in (None, "sig")
            and (key_id is None or key.key_id == key_id)
        ]
        return usable[0].key if len(usable) == 1 else None

    async def _ask(self) -> None:
        try:
            async with httpx.AsyncClient(timeout=_TIMEOUT_S, follow_redirects=False) as client:
                answer = await client.get(self._url)
            answer.raise_for_status()
            self._keys = _read(answer.content)
            self._got_at = time.monotonic()
        except (httpx.HTTPError, ValueError, jwt.PyJWTError) as error:
            _log.warning("no_keys", url=self._url, reason=str(error))
            if not self._keys:
                raise AuthUnavailable(f"The keys of {self._url} cannot be had: {error}") from error


def _read(body: bytes) -> list[jwt.PyJWK]:
    """Raises ``ValueError``, ``PyJWTError``."""
    if len(body) > _MAX_BYTES:
        raise ValueError("it is too large")
    found = json.loads(body)
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - it came from outside
    return jwt.PyJWKSet.from_dict(found).keys
