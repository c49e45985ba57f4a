"""Names that come from outside (webhook, Kafka, commands) and end up in object keys, rows and logs.

Decides which are acceptable; every check raises ``InvalidTask`` with a reason that names the field.
"""

import unicodedata

from pipeline.errors import InvalidTask

MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 1024

# Control characters, lone surrogates (no UTF-8 exists for them), line and paragraph separators.
_REFUSED_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})


def check_stream_name(text: object, field: str) -> str:
    """A stream id or stream key, stripped: one path part of at most 255 bytes of UTF-8."""
    name = _check_text(text, field, MAX_NAME_BYTES)
    if "/" in name or "\\" in name:
        raise InvalidTask(f"{field} contains a slash")
    if ".." in name or name == ".":
        raise InvalidTask(f"{field} contains a relative path part")
    return name


def check_label(text: object, field: str) -> str:
    """A user id, profile or the like, stripped: at most 255 bytes of UTF-8, kept as it is."""
    return _check_text(text, field, MAX_NAME_BYTES)


def check_hls_path(text: object, field: str = "hls_path") -> str:
    """Where a playlist is said to be, stripped: at most 1024 bytes, no ``.`` or ``..`` path parts.

    Only its form is checked. Whether it may be read is decided by whoever opens it.
    """
    path = _check_text(text, field, MAX_PATH_BYTES)
    if any(part in (".", "..") for part in path.replace("\\", "/").split("/")):
        raise InvalidTask(f"{field} contains a relative path part")
    return path


def _check_text(text: object, field: str, max_bytes: int) -> str:
    if not isinstance(text, str):
        raise InvalidTask(f"{field} is missing" if text is None else f"{field} is not a string")
    stripped = text.strip()
    if not stripped:
        raise InvalidTask(f"{field} is empty")
    if any(unicodedata.category(char) in _REFUSED_CATEGORIES for char in stripped):
        raise InvalidTask(f"{field} contains control characters")
    if len(stripped.encode()) > max_bytes:
        raise InvalidTask(f"{field} is longer than {max_bytes} bytes")
    return stripped
