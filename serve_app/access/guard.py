"""Lets callers in: who they are by their token, and whether it is good for what they want.

A token comes as ``Authorization: Bearer`` or in the cookie of a session (the web page, players).
Access control is on as soon as there is a secret or an auth service to tell good tokens by.
"""

import hashlib
import time
from typing import Annotated, cast

from fastapi import Depends, Request
from starlette.exceptions import HTTPException

from pipeline.settings import Settings
from pipeline.stores.platform import Platform
from serve_app.access.caller import ANYBODY, Caller, Scope
from serve_app.access.key_set import KeySet
from serve_app.access.limits import Limiter, address_of
from serve_app.access.tokens import Refused, Tokens

COOKIE = "vodray_session"
# So long a token that was revoked elsewhere may still be good.
_REVOKED_KEPT_S = 10.0
_MOST_REMEMBERED = 10_000
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
# Tries of tokens that are no good, of one address.
_BAD_BURST, _BAD_PER_S = 20, 0.5


class Guard:
    """Of one application."""

    def __init__(self, settings: Settings, platform: Platform) -> None:
        jwks = settings.auth_jwks_url
        self.is_on = settings.has_access_control
        self._settings, self._platform = settings, platform
        self._tokens = Tokens(settings, KeySet(jwks) if jwks else None)
        self._not_revoked: dict[bytes, float] = {}
        self._bad = Limiter(_BAD_PER_S, _BAD_BURST)

    async def caller(self, request: Request) -> Caller:
        """Answers 401, 403 or 429 to those who may not."""
        if not self.is_on:
            return ANYBODY
        token = self._token(request)
        if token is None:
            raise _unauthorized("Missing bearer token")
        return await self.check(token, request)

    def has_token(self, request: Request) -> bool:
        """Whatever it is good for."""
        return self._token(request) is not None

    async def check(self, token: str, request: Request) -> Caller:
        """Who has that token."""
        address = address_of(request.scope, self._settings)
        if (wait_s := self._bad.wait_s(address)) > 0:
            raise too_many(wait_s)
        try:
            caller = await self._tokens.read(token)
            await self._refuse_revoked(token)
        except Refused as error:
            self._bad.take(address)
            raise _unauthorized(str(error)) from error
        return caller

    async def revoke(self, token: str, caller: Caller) -> None:
        assert caller.expires_at is not None
        self._not_revoked.pop(_hash(token), None)
        await self._platform.revoke(_hash(token), caller.expires_at)

    def _token(self, request: Request) -> str | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            return token.strip()
        cookie = request.cookies.get(COOKIE)
        if cookie and request.method not in _SAFE:
            _refuse_other_sites(request)
        return cookie or None

    async def _refuse_revoked(self, token: str) -> None:
        known, now = _hash(token), time.monotonic()
        if self._not_revoked.get(known, 0.0) > now:
            return
        if await self._platform.is_revoked(known):
            raise Refused("The token is revoked")
        if len(self._not_revoked) >= _MOST_REMEMBERED:
            self._not_revoked.clear()
        self._not_revoked[known] = now + _REVOKED_KEPT_S


class Requires:
    """A dependency: the caller, who has that scope."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def __call__(self, request: Request) -> Caller:
        caller = await guard_of(request).caller(request)
        if not caller.may(self.scope):
            raise HTTPException(403, f"The token lacks the scope {self.scope}")
        return caller


def guard_of(request: Request) -> Guard:
    return cast("Guard", request.app.state.guard)


def too_many(wait_s: float) -> HTTPException:
    return HTTPException(429, "Too many requests", headers={"Retry-After": str(int(wait_s) + 1)})


def _refuse_other_sites(request: Request) -> None:
    """A browser sends cookies along with what other sites make it do."""
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        raise HTTPException(403, "A session's cookie is good for its own site only")


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _unauthorized(reason: str) -> HTTPException:
    return HTTPException(401, reason, headers={"WWW-Authenticate": "Bearer"})


Reader = Annotated[Caller, Depends(Requires(Scope.READ))]
Writer = Annotated[Caller, Depends(Requires(Scope.WRITE))]
Admin = Annotated[Caller, Depends(Requires(Scope.ADMIN))]
