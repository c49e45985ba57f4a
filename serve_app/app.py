"""The HTTP API as a Ray Serve application; what cannot be pickled is made in the replica."""

import asyncio
from collections.abc import Mapping

import structlog
from fastapi import FastAPI
from ray import serve

from actors.client import Client
from pipeline import tracing
from pipeline.errors import CatalogUnavailable, SettingsError
from pipeline.logs import configure, form
from pipeline.model import StreamEvent
from pipeline.settings import Settings
from pipeline.staging import staged_key
from pipeline.stores.catalog import Accepted
from pipeline.stores.connect import make_catalog
from pipeline.stores.objects_s3 import S3Store
from pipeline.stores.platform_postgres import PostgresPlatform
from serve_app import direct_ingress
from serve_app.api import create_api
from serve_app.services import Services

# Event streams hold one request each as long as their client listens; the feed bounds them.
MAX_ONGOING_REQUESTS = 1024
# Event streams never end by themselves, so waiting for them at shutdown is in vain.
SHUTDOWN_GRACE_S = 3.0
# The database is normally there at once; if not, we start without it and say so in /health.
FIRST_OPEN_S = 10.0
OPEN_RETRY_S = 1.0
STORE_CHECK_S = 2.5
ADDRESS_LIFETIME_S = 3600

_log = structlog.get_logger(__name__)


class RecordingService:
    """One replica: the API over PostgreSQL, S3 and the actors."""

    def __init__(self, settings: Settings, dashboard_url: str | None = None) -> None:
        configure(settings)
        tracing.configure(settings)
        direct_ingress.leave_port_to_next()
        self._settings, self._dashboard_url = settings, dashboard_url
        self._catalog = make_catalog(settings)
        self._store = S3Store(
            _known(settings.minio_endpoint, "MINIO_ENDPOINT"),
            settings.minio_access_key,
            settings.minio_secret_key.get_secret_value(),
            secure=settings.minio_use_ssl,
            timeout_s=STORE_CHECK_S,
            attempts=1,
            public_url=settings.minio_public_url,
        )
        self._client = Client()
        self._opening: asyncio.Task[None] | None = None
        self._counting: asyncio.Task[None] | None = None

    async def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by Serve in the event loop that serves the requests."""
        self._opening = asyncio.create_task(self._open())
        self._counting = asyncio.create_task(self._client.count_for_ever())
        await asyncio.wait({self._opening}, timeout=FIRST_OPEN_S)
        if self._opening.done():
            self._opening.result()
        return create_api(
            Services(
                settings=self._settings,
                catalog=self._catalog,
                submit=self._submit,
                check_workers=self._client.check_workers,
                check_store=self._check_store,
                address=self._address,
                activity=self._client.activity,
                measure=self._client.measure,
                disk=self._client.disk,
                dashboard_url=self._dashboard_url,
                platform=PostgresPlatform(self._catalog.database),
                objects=self._store,
                presign=self._store.presign_public,
                poke=self._client.poke,
                ingest=self._client,
            )
        )

    async def __del__(self) -> None:
        for task in (self._opening, self._counting):
            if task is not None:
                task.cancel()
        await self._catalog.close()

    async def _open(self) -> None:
        while True:
            try:
                await self._catalog.open()
                return
            except CatalogUnavailable as error:
                _log.warning("starting without the database", reason=str(error))
            await asyncio.sleep(OPEN_RETRY_S)

    async def _submit(self, event: StreamEvent) -> Accepted:
        accepted = await self._catalog.accept(event)
        touched = accepted.recording_id
        await self._client.poke([] if touched is None else [touched])
        return accepted

    async def _check_store(self) -> None:
        for bucket in (self._settings.minio_bucket, self._settings.minio_hls_bucket):
            await asyncio.to_thread(self._store.check_bucket, bucket)

    def _address(self, ref: str) -> str:
        bucket, _, key = ref.removeprefix("s3://").partition("/")
        if (staged := staged_key(ref)) is not None:
            bucket, key = self._settings.minio_bucket, staged
        elif not ref.startswith("s3://"):
            return ref
        return self._store.presign_public(bucket, key, ADDRESS_LIFETIME_S)


def build_app(
    settings: Settings,
    dashboard_url: str | None = None,
    resources: Mapping[str, float] | None = None,
) -> serve.Application:
    """The application for ``serve.run``. PostgreSQL and S3 must be named. ``dashboard_url``: of
    Ray, for the page. ``resources`` of Ray that the replica takes, to be where they are."""
    _known(settings.database_dsn, "DATABASE_URL")
    _known(settings.minio_endpoint, "MINIO_ENDPOINT")
    log_form = form(settings)
    deployment = serve.deployment(
        name="RecordingService",
        max_ongoing_requests=MAX_ONGOING_REQUESTS,
        graceful_shutdown_timeout_s=SHUTDOWN_GRACE_S,
        graceful_shutdown_wait_loop_s=0.5,
        ray_actor_options={"num_cpus": 0, "resources": dict(resources or {})},
        logging_config={
            "encoding": "JSON" if log_form == "json" else "TEXT",
            "log_level": settings.log_level.upper(),
        },
    )(serve.ingress()(RecordingService))
    return deployment.bind(settings.model_copy(update={"log_format": log_form}), dashboard_url)


def _known(value: str | None, variable: str) -> str:
    if value is None:
        raise SettingsError(f"{variable} is not set", "The service needs PostgreSQL and S3")
    return value
