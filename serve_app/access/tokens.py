"""Bearer tokens: JWTs (RFC 7519) that we have signed, or the platform's auth service.

Which key may have signed with which algorithm is settled here and never by the token: HS256 goes
with ``AUTH_SECRET`` alone, public keys with theirs alone (RFC 8725 section 3.1).
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import jwt

from pipeline.errors import SettingsError
from pipeline.settings import Settings
from serve_app.access.caller import Caller, Scope
from serve_app.access.key_set import KeySet

OURS = "HS256"
THEIRS = ("RS256", "ES256", "EdDSA")
MAX_TOKEN_BYTES = 8192
# Clocks of two machines.
_LEEWAY = timedelta(seconds=30)
_KNOWN = {scope.value: scope for scope in Scope}


class Refused(Exception):
    """The token is not good, and why, for whoever sent it."""


def mint(settings: Settings, scopes: Iterable[Scope], user_id: str | None, days: float) -> str:
    """A token of our own. Raises ``SettingsError`` without ``AUTH_SECRET``."""
    if settings.auth_secret is None:
        raise SettingsError(
            "AUTH_SECRET is not set", "Tokens are signed with it: set it for the service and here"
        )
    now = datetime.now(UTC)
    claims: dict[str, Any] = {
        "scope": " ".join(sorted(scopes)),
        "iat": now,
        "exp": now + timedelta(days=days),
        "jti": str(uuid4()),
    }
    told = {"sub": user_id, "iss": settings.auth_issuer, "aud": settings.auth_audience}
    claims |= {name: value for name, value in told.items() if value is not None}
    return jwt.encode(claims, settings.auth_secret.get_secret_value(), algorithm=OURS)


class Tokens:
    """``keys``: of the platform's auth service; None without one."""

    def __init__(self, settings: Settings, keys: KeySet | None) -> None:
        self._secret, self._keys = settings.auth_secret, keys
        self._issuer, self._audience = settings.auth_issuer, settings.auth_audience

    async def read(self, token: str) -> Caller:
        """Raises ``Refused``, and ``WorkerLost`` where the auth service's keys cannot be had."""
        if len(token) > MAX_TOKEN_BYTES:
            raise Refused("Invalid token")
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError as error:
            raise Refused("Invalid token") from error
        key, algorithm = await self._key_for(header)
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                issuer=self._issuer,
                audience=self._audience,
                leeway=_LEEWAY,
                options={"require": ["exp"], "verify_aud": self._audience is not None},
            )
        except jwt.ExpiredSignatureError as error:
            raise Refused("The token has expired") from error
        except jwt.InvalidAudienceError as error:
            raise Refused("The token is for another audience") from error
        except (jwt.InvalidTokenError, TypeError, ValueError) as error:
            raise Refused("Invalid token") from error
        caller = _caller(claims)
        if caller.user_id is None and algorithm != OURS:
            # It would be taken for one of a service.
            raise Refused("The token names no user")
        return caller

    async def _key_for(self, header: Mapping[str, Any]) -> tuple[Any, str]:
        algorithm = header.get("alg")
        if algorithm == OURS and self._secret is not None:
            return self._secret.get_secret_value(), OURS
        if algorithm in THEIRS and self._keys is not None:
            key = await self._keys.find(header.get("kid"), algorithm)
            if key is not None:
                return key, algorithm
        raise Refused("Invalid token")


def _caller(claims: Mapping[str, Any]) -> Caller:
    # RFC 8693 section 4.2; auth services have other names for it too.
    told = claims.get("scope", claims.get("scopes", claims.get("scp", "")))
    words = told.split() if isinstance(told, str) else told if isinstance(told, list) else []
    user_id = claims.get("user_id", claims.get("sub"))
    token_id = claims.get("jti")
    return Caller(
        scopes=frozenset(_KNOWN[word] for word in words if word in _KNOWN),
        user_id=user_id if isinstance(user_id, str) and user_id else None,
        is_known=True,
        token_id=token_id if isinstance(token_id, str) and token_id else None,
        expires_at=datetime.fromtimestamp(float(claims["exp"]), UTC),
    )
