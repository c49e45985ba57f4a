"""The files of the web page, as they are in the package: read once, compressed once."""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent / "page"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFile:
    """``etag``: quoted, of the plain bytes; ``packed``: by gzip."""

    body: bytes
    packed: bytes
    etag: str
    media_type: str


@cache
def page_files() -> Mapping[str, PageFile]:
    """By path below the page's folder, with slashes. Only what a browser loads."""
    return {
        path.relative_to(_FOLDER).as_posix(): _read(path)
        for path in sorted(_FOLDER.rglob("*"))
        if path.suffix in TYPES and path.is_file()
    }


def _read(path: Path) -> PageFile:
    body = path.read_bytes()
    return PageFile(
        body=body,
        packed=gzip.compress(body, mtime=0),
        etag=f'"{hashlib.sha256(body).hexdigest()[:20]}"',
        media_type=TYPES[path.suffix],
    )
