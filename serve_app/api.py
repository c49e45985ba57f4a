"""The HTTP API as a FastAPI application that needs no Ray: tests run it in their own process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from serve_app import problems
from serve_app.feed import Feed
from serve_app.live_view import LiveViews
from serve_app.routes import events, health, live, recordings, streams, webhook
from serve_app.services import Services
from serve_app.version import version


class Api(FastAPI):
    """FastAPI whose OpenAPI document does not promise the 422 answers that we never give."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            _drop_default_422(super().openapi())
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
    health.install_checks(app, services)
    problems.install(app)
    for module in (health, recordings, live, webhook, events, streams):
        app.include_router(module.router)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    feeding = asyncio.create_task(app.state.feed.run())
    try:
        yield
    finally:
        feeding.cancel()
        with suppress(asyncio.CancelledError):
            await feeding


def _operation_id(route: APIRoute) -> str:
    return route.name


def _drop_default_422(document: dict[str, Any]) -> None:
    for path in document["paths"].values():
        for operation in path.values():
            answer = operation["responses"].get("422", {})
            if "HTTPValidationError" in str(answer):
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
