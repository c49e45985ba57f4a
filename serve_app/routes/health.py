"""Whether the service can do its work: are PostgreSQL, S3 and the workers there?"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated

import structlog
from fastapi import APIRouter, FastAPI, Query, Request
from starlette.responses import JSONResponse

from pipeline.errors import VodrayError
from pipeline.logs import scrub
from pipeline.stores.migrations import newest_version
from serve_app.problems import documented
from serve_app.routes.common import FromServices
from serve_app.schemas import HealthDetails, Healthy, Unhealthy
from serve_app.services import Services
from serve_app.version import version

# A little longer than the catalogue and the store try, so that their own reasons come through.
CHECK_TIMEOUT_S = 3.5

router = APIRouter(tags=["health"])
_log = structlog.get_logger(__name__)


class Check:
    """One part's check. However many callers ask, it runs once at a time: a part that hangs must
    not pile up work that waits for it."""

    def __init__(self, check: Callable[[], Awaitable[None]]) -> None:
        self._check = check
        self._running: asyncio.Task[str] | None = None

    async def __call__(self) -> str:
        """``ok`` or what is wrong, within ``CHECK_TIMEOUT_S``."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        try:
            return await asyncio.wait_for(asyncio.shield(self._running), CHECK_TIMEOUT_S)
        except TimeoutError:
            return f"no answer within {CHECK_TIMEOUT_S:g} s"

    async def _run(self) -> str:
        try:
            await self._check()
        except VodrayError as error:
            return scrub(str(error))
        except Exception:  # noqa: BLE001 - a check that breaks says that its part is not well
            _log.exception("health check broke")
            return "check failed"
        return "ok"


def install_checks(app: FastAPI, services: Services) -> None:
    app.state.checks = {
        "postgres": Check(services.catalog.ping),
        "s3": Check(services.check_store),
        "workers": Check(services.check_workers),
    }


@router.get(
    "/health",
    response_model=Healthy,
    responses=documented() | {503: {"model": Unhealthy, "description": "A part is away"}},
)
async def health(
    request: Request,
    services: FromServices,
    details: Annotated[bool, Query(description="Version and fill of the disks as well")] = False,
) -> JSONResponse:
    """Healthy if PostgreSQL, S3 and at least one worker answer."""
    checks: dict[str, Check] = request.app.state.checks
    results = await asyncio.gather(*(check() for check in checks.values()))
    if all(result == "ok" for result in results):
        told = await _details(services) if details else None
        return JSONResponse(Healthy(details=told).model_dump())
    unhealthy = Unhealthy(checks=dict(zip(checks, results, strict=True)))
    return JSONResponse(unhealthy.model_dump(), status_code=503)


async def _details(services: Services) -> HealthDetails:
    disk = await services.disk()
    return HealthDetails(
        version=version(),
        schema_version=newest_version(),
        disk_percent=disk and disk.percent,
        backlog="waits" if disk and disk.is_full else "taken",
    )
