"""``vodray retention``."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from serve_app.commands import _api
from serve_app.commands._stores import data_dir_option, stores

if TYPE_CHECKING:
    from pipeline.model import Recording
    from pipeline.settings import Settings
    from pipeline.stores.objects import ObjectStore


@dataclass(frozen=True, slots=True)
class _Old:
    recording: "Recording"
    objects: int
    size_bytes: int


@click.command(
    "retention",
    epilog="""\b
Examples:
  vodray retention --dry-run
  vodray retention --dry-run --days 30
""",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be deleted.")
@click.option("--days", type=click.IntRange(1), help="How old.  [default: RETENTION_DAYS]")
@data_dir_option
@_api.json_option
def command(dry_run: bool, days: int | None, data_dir: Path, as_json: bool) -> None:
    """Delete recordings that were completed, or have failed, more than so many days ago, but those
    that are to be kept (`keep`). With RETENTION_DAYS set, the service does it by itself.

    Nobody sees them from then on; their objects are removed by the service within seconds, or when
    it starts again.
    """
    with stores(data_dir) as settings:
        days = days or settings.retention_days
        if days is None:
            raise click.UsageError("Name --days, or set RETENTION_DAYS")
        found = asyncio.run(_retain(settings, days, dry_run))
    if as_json:
        _api.print_json(
            {
                "dry_run": dry_run,
                "recordings": [
                    {
                        "id": str(old.recording.id),
                        "file_path": old.recording.file_path,
                        "objects": old.objects,
                        "bytes": old.size_bytes,
                    }
                    for old in found
                ],
            }
        )
        return
    for old in found:
        at = old.recording.completed_at or old.recording.created_at
        path = old.recording.file_path or old.recording.status
        click.echo(f"{old.recording.id}\t{at:%F}\t{old.objects}\t{old.size_bytes}\t{path}")
    click.echo(
        f"{len(found)} recordings {'would be' if dry_run else 'are'} deleted,"
        f" {sum(old.objects for old in found)} objects,"
        f" {_api.size(sum(old.size_bytes for old in found))}",
        err=True,
    )


async def _retain(settings: "Settings", days: int, dry_run: bool) -> list[_Old]:
    from pipeline.retention import expire, limit_of
    from pipeline.stores.connect import make_catalog, make_store
    from pipeline.stores.platform_postgres import PostgresPlatform
    from pipeline.stores.upkeep import Upkeep

    catalog, store = make_catalog(settings), make_store(settings)
    await catalog.open()
    try:
        upkeep, platform = Upkeep(catalog.database), PostgresPlatform(catalog.database)
        found = []
        for recording in await upkeep.expired(limit_of(datetime.now(UTC), days)):
            sizes = await asyncio.to_thread(_sizes, settings, store, recording)
            if dry_run or await expire(recording, catalog, platform):
                found.append(_Old(recording, len(sizes), sum(sizes)))
        return found
    finally:
        await catalog.close()


def _sizes(settings: "Settings", store: "ObjectStore", recording: "Recording") -> list[int]:
    from pipeline.results import objects_of

    return [found.size_bytes for found in objects_of(store, settings.minio_bucket, recording)]
