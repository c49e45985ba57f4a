"""PostgreSQL and the object store for commands that need no service: those that the environment
names, else those of a data directory, whether `vodray up` runs there now or not.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pipeline.settings import Settings


def data_dir_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--data-dir",
        default=".vodray",
        show_default=True,
        type=click.Path(path_type=Path, file_okay=False),
        help="Where `vodray up` keeps what the environment does not name.",
    )(command)


@contextmanager
def stores(data_dir: Path, *, alone: bool = False, anew: bool = False) -> "Iterator[Settings]":
    """The settings, with both stores named and reachable inside.

    ``alone``: refuses a data directory that is in use; ``anew``: makes one that is not there.
    """
    # Imported now: `--help` must not wait for it.
    from pipeline.errors import DataDirBusy, UsageError
    from pipeline.settings import load_settings
    from serve_app.embedded.services import start_missing

    settings = load_settings()
    if settings.database_dsn is not None and settings.minio_endpoint is not None:
        yield settings
        return
    if not anew and not data_dir.is_dir():
        raise UsageError(
            f"There is no data directory {data_dir}",
            "Name it with --data-dir, or set DATABASE_URL and MINIO_ENDPOINT",
        )
    try:
        settings, services = start_missing(settings, data_dir, stores_only=True)
    except DataDirBusy:
        if alone:
            raise
        yield _running(settings, data_dir)
        return
    try:
        yield settings
    finally:
        services.stop()


def _running(settings: "Settings", data_dir: Path) -> "Settings":
    """With the stores that `up` serves from this directory."""
    from pydantic import SecretStr

    from pipeline.errors import ServiceFailed
    from serve_app.server import ENDPOINTS_FILE

    try:
        told = json.loads((data_dir / ENDPOINTS_FILE).read_text("utf-8"))
    except FileNotFoundError as error:
        raise ServiceFailed(
            f"The service in {data_dir} is not ready", "Try again in a moment"
        ) from error
    update: dict[str, Any] = {}
    if settings.database_dsn is None:
        update["database_url"] = SecretStr(told["postgres"])
    if settings.minio_endpoint is None:
        scheme, _, endpoint = told["s3"].partition("://")
        update |= {
            "minio_endpoint": endpoint,
            "minio_access_key": told["s3_access_key"],
            "minio_secret_key": SecretStr(told["s3_secret_key"]),
            "minio_use_ssl": scheme == "https",
        }
    return settings.model_copy(update=update)
