"""How often one address may call: a bucket of tokens each, which fills at a steady rate."""

import time
from collections import OrderedDict
from ipaddress import ip_address, ip_network

from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.settings import Settings
from serve_app.problems import problem

_MOST_ADDRESSES = 50_000
# Those who watch the service ask regularly, and must learn of an overload.
_FREE = frozenset({"/health", "/metrics"})


class Limiter:
    """``per_s`` calls of each address, and ``burst`` at once."""

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s, self._burst = per_s, burst
        # (calls that are left, when that was so); who has called longest ago first.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """How long until it may call; 0: now."""
        return max(0.0, (1 - self._now(address)) / self._per_s)

    def take(self, address: str) -> None:
        self._left[address] = (self._now(address) - 1, time.monotonic())
        self._left.move_to_end(address)
        if len(self._left) > _MOST_ADDRESSES:
            self._left.popitem(last=False)

    def _now(self, address: str) -> float:
        now = time.monotonic()
        left, at = self._left.get(address, (self._burst, now))
        return min(self._burst, left + (now - at) * self._per_s)


class RateLimit:
    """ASGI middleware: 429 for an address above ``RATE_LIMIT`` calls a second."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._limiter = Limiter(settings.rate_limit, 2 * settings.rate_limit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in _FREE and self._settings.rate_limit:
            address = address_of(scope, self._settings)
            if self._limiter.wait_s(address) > 0:
                answer = problem(429, "Too many requests", {"Retry-After": "1"})
                await answer(scope, receive, send)
                return
            self._limiter.take(address)
        await self._app(scope, receive, send)


def address_of(scope: Scope, settings: Settings) -> str:
    """The caller's, through proxies that are trusted (``X-Forwarded-For``, from its end)."""
    client = scope.get("client")
    address = str(client[0]) if client else ""
    if not settings.trusted_proxies:
        return address
    told = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    hops = [hop.strip() for hop in b",".join(told).decode("latin-1").split(",") if hop.strip()]
    while hops and _is_trusted(address, settings):
        address = hops.pop()
    return address


def _is_trusted(address: str, settings: Settings) -> bool:
    try:
        known = ip_address(address)
    except ValueError:
        return False
    return any(known in ip_network(network) for network in settings.trusted_proxies)
