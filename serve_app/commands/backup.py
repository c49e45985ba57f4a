"""``vodray backup``."""

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from serve_app.commands import _api
from serve_app.commands._stores import data_dir_option, stores

if TYPE_CHECKING:
    from pipeline.settings import Settings
    from pipeline.stores.backup import Backup


@click.command(
    "backup",
    epilog="""\b
Examples:
  vodray backup catalogue-$(date +%F).backup
  vodray backup - | ssh elsewhere 'cat > catalogue.backup'
""",
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@data_dir_option
@_api.json_option
def command(file: Path, data_dir: Path, as_json: bool) -> None:
    """Write the catalogue, as it is at one moment, into FILE; the service may go on meanwhile.

    The media is not in it: it is in the results bucket. Tokens are not in it either, but stream
    keys and the secrets of streams that are published to us are: FILE is for its owner only.
    """
    with stores(data_dir) as settings, _written(file) as out:
        made = asyncio.run(_backup(settings, out))
    if as_json:
        _api.print_json(
            {"file": str(file), "schema": made.schema, "made_at": made.made_at.isoformat()}
            | {"rows": dict(made.rows)}
        )
    else:
        where = "stdout" if str(file) == "-" else f"{file}, {_api.size(file.stat().st_size)}"
        click.echo(
            f"{made.rows['recordings']} recordings, {sum(made.rows.values())} rows in {where}",
            err=str(file) == "-",
        )


async def _backup(settings: "Settings", out: IO[bytes]) -> "Backup":
    from pipeline.stores.backup import write_backup
    from pipeline.stores.database import Database

    async with Database(settings.database_dsn or "").session() as connection:
        return await write_backup(connection, out)


@contextmanager
def _written(file: Path) -> Iterator[IO[bytes]]:
    """A file that has its name once it is whole and on disk."""
    if str(file) == "-":
        yield sys.stdout.buffer
        return
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    with suppress(FileNotFoundError):
        draft.unlink()
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        draft.rename(file)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
