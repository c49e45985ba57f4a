"""The stores of this process, from settings: clients are opened where they are used, never sent."""

from pipeline.errors import SettingsError
from pipeline.settings import Settings
from pipeline.stores.catalog_postgres import PostgresCatalog
from pipeline.stores.database import PATIENCE_S
from pipeline.stores.objects import ObjectStore
from pipeline.stores.objects_s3 import S3Store


def make_catalog(settings: Settings, patience_s: float = PATIENCE_S) -> PostgresCatalog:
    """``patience_s``: how long its calls try to reach PostgreSQL."""
    if settings.database_dsn is None:
        raise SettingsError("No PostgreSQL is named", "Set DATABASE_URL or DB_HOST")
    return PostgresCatalog(
        settings.database_dsn,
        reconnect_window=settings.reconnect_window,
        profile=settings.profile,
        patience_s=patience_s,
    )


def make_store(settings: Settings, patience_s: float = 0.0) -> ObjectStore:
    """``patience_s``: how long its calls try, at least, while the server is away."""
    if settings.minio_endpoint is None:
        raise SettingsError("No object store is named", "Set MINIO_ENDPOINT")
    return S3Store(
        settings.minio_endpoint,
        settings.minio_access_key,
        settings.minio_secret_key.get_secret_value(),
        secure=settings.minio_use_ssl,
        patience_s=patience_s,
    )
