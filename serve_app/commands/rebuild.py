"""``vodray rebuild``."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from serve_app.commands import _api
from serve_app.commands._errors import Failure
from serve_app.commands._stores import data_dir_option, stores

if TYPE_CHECKING:
    from pipeline.rebuild import Told
    from pipeline.settings import Settings


@click.command(
    "rebuild",
    epilog="""\b
Examples:
  vodray rebuild --dry-run
  vodray restore last-week.backup && vodray rebuild
""",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@data_dir_option
@_api.json_option
def command(dry_run: bool, data_dir: Path, as_json: bool) -> None:
    """Make rows for completed recordings that the results bucket tells of and the catalogue does
    not know: after it was lost, or restored from an old backup. What is there stays as it is.

    The bucket does not tell stream keys, videos of the VOD catalogue, nor what is unfinished.
    """
    with stores(data_dir, anew=True) as settings:
        told = asyncio.run(_rebuild(settings, dry_run))
    new = [each for each in told if each.is_new]
    problems = [each for each in told if each.problem]
    if as_json:
        _api.print_json(
            {
                "new": [str(each.recording.id) for each in new if each.recording],
                "known": len(told) - len(new) - len(problems),
                "problems": {each.key: each.problem for each in problems},
            }
        )
    else:
        for each in new:
            assert each.recording is not None
            click.echo(f"{each.recording.id}\t{each.recording.file_path}")
        click.echo(
            f"{len(new)} recordings {'would be' if dry_run else 'are'} new,"
            f" {len(told) - len(new) - len(problems)} were known",
            err=True,
        )
        for each in problems:
            click.echo(each.problem, err=True)
    if problems:
        raise Failure(f"{len(problems)} objects tell of no recording")


async def _rebuild(settings: "Settings", dry_run: bool) -> "list[Told]":
    from pipeline.rebuild import rebuild
    from pipeline.stores.connect import make_catalog, make_store
    from pipeline.stores.upkeep import Upkeep

    catalog = make_catalog(settings)
    await catalog.open()
    try:
        store, bucket = make_store(settings), settings.minio_bucket
        told = rebuild(Upkeep(catalog.database), store, bucket, dry_run=dry_run)
        return [each async for each in told]
    finally:
        await catalog.close()
