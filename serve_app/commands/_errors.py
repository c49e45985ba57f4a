"""Errors of commands as one clear line on stderr and an exit code, never a traceback.

Exit codes: 1 failed, 2 usage. ``LOG_LEVEL=debug`` shows the traceback of what nobody expected.
"""

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click


class Failure(click.ClickException):
    """Ends the command with ``vodray: <message>`` on stderr."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"vodray: {self.message}", file=file, err=True)


class Misuse(Failure):
    """A command or setting that cannot be meant."""

    exit_code = 2


@contextmanager
def explained() -> Iterator[None]:
    """Turn what goes wrong inside into a ``Failure``; click's own exceptions pass."""
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
        raise
    except Exception as error:
        if os.environ.get("LOG_LEVEL", "").lower() == "debug":
            traceback.print_exc()
        raise _as_failure(error) from error


def _as_failure(error: Exception) -> Failure:
    # Imported here: `vodray --help` must not wait for pydantic.
    from pipeline.errors import UsageError, VodrayError

    if isinstance(error, UsageError):
        return Misuse(str(error))
    if isinstance(error, VodrayError):
        return Failure(str(error))
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return Failure(f"{place}{error.strerror or error}")
    return Failure(f"internal error: {type(error).__name__}: {error}")
