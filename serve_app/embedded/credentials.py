"""Passwords of the embedded services: made once, readable by their owner only."""

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pipeline.errors import SettingsError


def _secret() -> str:
    return secrets.token_urlsafe(24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    postgres_password: str = field(default_factory=_secret, repr=False)
    s3_access_key: str = field(default_factory=lambda: secrets.token_hex(10).upper())
    s3_secret_key: str = field(default_factory=_secret, repr=False)


def load_or_create(path: Path) -> Credentials:
    """What ``path`` holds, or new ones written there. Raises ``SettingsError`` if it is damaged."""
    try:
        return Credentials(**json.loads(path.read_text()))
    except FileNotFoundError:
        return _create(path)
    except (ValueError, TypeError) as error:
        raise SettingsError(
            f"{path} is damaged",
            "Restore it: the databases beside it open only with its passwords",
        ) from error


def _create(path: Path) -> Credentials:
    """Whole or not at all: the databases are made with these passwords next."""
    credentials = Credentials()
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(asdict(credentials), file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    return credentials
