"""``vodray restore``."""

import asyncio
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from serve_app.commands import _api
from serve_app.commands._stores import data_dir_option, stores

if TYPE_CHECKING:
    from pipeline.settings import Settings
    from pipeline.stores.backup import Backup


@click.command(
    "restore",
    epilog="""\b
Examples:
  vodray restore catalogue.backup && vodray up
  vodray restore catalogue.backup --replace
""",
)
@click.argument("file", type=click.File("rb"))
@click.option("--replace", is_flag=True, help="Lose what the catalogue holds now.")
@data_dir_option
@_api.json_option
def command(file: IO[bytes], replace: bool, data_dir: Path, as_json: bool) -> None:
    """Make the catalogue what FILE says, all of it or nothing. The service must not run.

    A backup of an older release is brought to what this one speaks. A catalogue that is not empty
    is refused unless --replace is given.
    """
    with stores(data_dir, alone=True, anew=True) as settings:
        backup = asyncio.run(_restore(settings, file, replace))
    if as_json:
        _api.print_json(
            {"schema": backup.schema, "made_at": backup.made_at.isoformat()}
            | {"rows": dict(backup.rows)}
        )
    else:
        click.echo(
            f"{backup.rows['recordings']} recordings, {sum(backup.rows.values())} rows,"
            f" as they were at {backup.made_at:%F %T} UTC"
        )


async def _restore(settings: "Settings", file: IO[bytes], replace: bool) -> "Backup":
    from pipeline.stores.backup import restore_backup
    from pipeline.stores.database import Database

    database = Database(settings.database_dsn or "")
    await database.make()
    async with database.session() as connection:
        return await restore_backup(connection, file, replace=replace)
