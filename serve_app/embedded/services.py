"""Which embedded services to start, all at once, and how the settings name them afterwards."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from pipeline.errors import SettingsError, UsageError
from pipeline.settings import Settings
from serve_app.embedded.credentials import Credentials, load_or_create
from serve_app.embedded.lock import DataDirLock

if TYPE_CHECKING:  # they need the extra `embedded`
    from serve_app.embedded.kafka import KafkaBroker
    from serve_app.embedded.postgres import PostgresServer
    from serve_app.embedded.s3 import S3Server
    from serve_app.embedded.service import Service


@dataclass(slots=True)
class EmbeddedServices:
    """The services of ours that run; None where the environment names one, or Kafka is off."""

    lock: DataDirLock
    postgres: "PostgresServer | None" = None
    s3: "S3Server | None" = None
    kafka: "KafkaBroker | None" = None
    notes: list[str] = field(default_factory=list)
    """What the operator should know, such as that Kafka intake is off."""

    @property
    def running(self) -> "list[Service]":
        return [service for service in (self.postgres, self.s3, self.kafka) if service is not None]

    def start(self) -> None:
        """Start all at once. Raises ``ServiceFailed``; then none is left running."""
        try:
            _for_each(self.running, "start")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop all within 10 s, killing what does not end by itself, and release the lock."""
        try:
            _for_each(self.running, "stop")
        finally:
            self.lock.release()

    def fill_in(self, settings: Settings) -> Settings:
        """``settings`` with the endpoints and credentials of what runs here."""
        update: dict[str, Any] = {}
        if self.postgres is not None:
            update["database_url"] = SecretStr(self.postgres.dsn)
        if self.s3 is not None:
            update["minio_endpoint"] = self.s3.endpoint
            update["minio_access_key"] = self.s3.access_key
            update["minio_secret_key"] = SecretStr(self.s3.secret_key)
            update["minio_use_ssl"] = False
        if self.kafka is not None:
            update["kafka_brokers"] = (self.kafka.broker,)
        return settings.model_copy(update=update)


def start_missing(
    settings: Settings, data_dir: Path, *, stores_only: bool = False
) -> tuple[Settings, EmbeddedServices]:
    """Start what ``settings`` do not name, with its data below ``data_dir``.

    Returns the settings with the endpoints filled in, and the services: the caller stops them.
    ``stores_only``: no Kafka.
    Raises ``DataDirBusy``, ``SettingsError`` when a package is missing, ``UsageError`` when the
    folder cannot be used, ``ServiceFailed``.
    """
    with _usable(data_dir):
        data_dir = data_dir.expanduser().resolve()
        # PostgreSQL runs as another user under root and has to pass.
        data_dir.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        logs = data_dir / "log"
        logs.mkdir(mode=0o700, exist_ok=True)
        services = EmbeddedServices(DataDirLock(data_dir))
    try:
        _choose(services, settings, data_dir, logs, stores_only=stores_only)
    except BaseException:
        services.lock.release()
        raise
    services.start()
    settings = services.fill_in(settings)
    if "spool_dir" not in settings.model_fields_set:
        settings = settings.model_copy(update={"spool_dir": data_dir / "spool"})
    if "ingest_dir" not in settings.model_fields_set:
        settings = settings.model_copy(update={"ingest_dir": data_dir / "ingest"})
    return settings, services


def _choose(
    services: EmbeddedServices,
    settings: Settings,
    data_dir: Path,
    logs: Path,
    *,
    stores_only: bool,
) -> None:
    credentials = load_or_create(data_dir / "credentials.json")
    if settings.database_dsn is None:
        services.postgres = _postgres(data_dir / "postgres", logs, credentials)
    if settings.minio_endpoint is None:
        services.s3 = _s3(data_dir / "s3", logs, credentials)
    if not settings.kafka_brokers and not stores_only:
        try:
            services.kafka = _kafka(data_dir / "kafka", logs)
        except SettingsError as error:
            services.notes.append(f"Kafka intake is off. {error}")


def _postgres(folder: Path, logs: Path, credentials: Credentials) -> "PostgresServer":
    with _extra("DATABASE_URL"):
        from serve_app.embedded.postgres import PostgresServer

        return PostgresServer(folder, logs, credentials.postgres_password)


def _s3(folder: Path, logs: Path, credentials: Credentials) -> "S3Server":
    with _extra("MINIO_ENDPOINT"):
        from serve_app.embedded.s3 import S3Server

        return S3Server(folder, logs, credentials.s3_access_key, credentials.s3_secret_key)


def _kafka(folder: Path, logs: Path) -> "KafkaBroker":
    with _extra("KAFKA_BROKERS"):
        from serve_app.embedded.kafka import KafkaBroker
    return KafkaBroker(folder, logs)


def _for_each(services: "list[Service]", verb: str) -> None:
    """Call ``verb`` on all at once and wait for all; then raise the first error, if any."""
    if not services:
        return
    with ThreadPoolExecutor(len(services)) as pool:
        calls = [pool.submit(getattr(service, verb)) for service in services]
    for call in calls:
        call.result()


@contextmanager
def _extra(variable: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"{variable} is not set, and an embedded service needs {error.name}, which is missing",
            f"Set {variable}, or: pip install 'vodray[embedded]'",
        ) from error


@contextmanager
def _usable(data_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"{data_dir} cannot hold our data: {error.strerror}",
            "Choose another folder with --data-dir",
        ) from error
