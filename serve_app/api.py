"""The HTTP API as a FastAPI application that needs no Ray: tests run it in their own process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware

from pipeline.settings import Settings
from serve_app import problems
from serve_app.access.caller import Scope
from serve_app.access.guard import Guard, Requires
from serve_app.access.headers import SecurityHeaders
from serve_app.access.limits import RateLimit
from serve_app.chunk_maps import ChunkMaps
from serve_app.feed import Feed
from serve_app.live_view import LiveViews
from serve_app.metrics import Metrics
from serve_app.routes import (
    chunks,
    events,
    files,
    health,
    live,
    metrics,
    page,
    recordings,
    session,
    streams,
    videos,
    webhook,
)
from serve_app.served import Served
from serve_app.services import Services
from serve_app.version import version

_ROUTERS = tuple(
    module.router
    for module in (
        # Looked through in this order for each request: what comes most often first.
        webhook, health, recordings, files, live, events, videos, session, streams, chunks,
        metrics, page
    )
)  # fmt: skip


class Api(FastAPI):
    """FastAPI whose OpenAPI document does not promise the 422 answers that we never give."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = super().openapi()
            _drop_default_422(document)
            _name_tokens(document)
        return super().openapi()


def create_api(services: Services) -> FastAPI:
    """Every route over ``services``.

    State is in ``app.state``: what a lifespan yields does not reach requests under Ray Serve.
    """
    app = Api(
        title="vodray recording service",
        description="Records live HLS streams and turns them into VOD.",
        version=version(),
        lifespan=_lifespan,
        redoc_url=None,
        generate_unique_id_function=_operation_id,
    )
    app.state.services = services
    app.state.feed = Feed(services.catalog)
    app.state.live = LiveViews(services.catalog)
    app.state.chunks = ChunkMaps(services.catalog, services.activity)
    app.state.guard = Guard(services.settings, services.platform)
    app.state.served = Served(services.platform)
    health.install_checks(app, services)
    app.state.metrics = Metrics(services, app.state.checks)
    problems.install(app)
    _install_access(app, services.settings)
    for router in _ROUTERS:
        app.include_router(router)
    return app


def _install_access(app: FastAPI, settings: Settings) -> None:
    """What is added last comes first: all answers have the headers, also those of the limit."""
    app.add_middleware(RateLimit, settings=settings)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "HEAD", "POST", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Range", "If-None-Match", "If-Range"],
            expose_headers=["Accept-Ranges", "Content-Range", "ETag", "Retry-After", "X-Error-Id"],
            max_age=600,
        )
    app.add_middleware(SecurityHeaders)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(each.run()) for each in (app.state.feed, app.state.served)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await app.state.served.flush()


def _operation_id(route: APIRoute) -> str:
    return route.name


def _name_tokens(document: dict[str, Any]) -> None:
    """Tokens, and the scope that they need, are asked for where access control is on."""
    scopes = {
        route.name: _scope(route.dependant)
        for router in _ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute)
    }
    document["components"]["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    }
    for path in document["paths"].values():
        for operation in path.values():
            if scope := scopes[operation["operationId"]]:
                operation["security"] = [{"token": [scope]}, {}]


def _scope(dependant: Dependant) -> Scope | None:
    """The first that is required; no route requires two."""
    if isinstance(dependant.call, Requires):
        return dependant.call.scope
    return next(filter(None, map(_scope, dependant.dependencies)), None)


def _drop_default_422(document: dict[str, Any]) -> None:
    for path in document["paths"].values():
        for operation in path.values():
            answer = operation["responses"].get("422", {})
            if "HTTPValidationError" in str(answer):
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
