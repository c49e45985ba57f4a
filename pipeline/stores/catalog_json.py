"""The catalogue's values as JSON text, for ``json``/``jsonb`` columns.

Text that PostgreSQL cannot hold (NUL, lone surrogates: both come from hostile playlists) is
replaced, never refused: a report about bad input must be storable.
"""

import json
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter

from pipeline.model import (
    ChunkSpec,
    Gap,
    Opened,
    Output,
    Progress,
    Rendition,
    Segment,
    StreamEvent,
)

T = TypeVar("T")


def storable(text: str) -> str:
    """``text`` without characters that PostgreSQL cannot hold.

    >>> storable("a\\0b")
    'a\\ufffdb'
    """
    return (
        text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    )


class JsonColumn(Generic[T]):
    """How values of one type are written to and read from a column."""

    def __init__(self, kind: Any) -> None:
        self._adapter: TypeAdapter[T] = TypeAdapter(kind)

    def dump(self, value: T) -> str:
        """Raises ``ValueError`` for numbers that JSON cannot hold (NaN, infinity)."""
        plain = self._adapter.dump_python(value, mode="json")
        text = json.dumps(plain, allow_nan=False)
        # Most have nothing of the kind; pairs of surrogates, which may stay, are looked at as well.
        if "\\u0000" in text or "\\ud" in text:
            text = json.dumps(_storable_all(plain), allow_nan=False)
        return text

    def load(self, text: str) -> T:
        return self._adapter.validate_python(json.loads(text))


def _storable_all(value: Any) -> Any:
    match value:
        case str():
            return storable(value)
        case dict():
            return {storable(key): _storable_all(item) for key, item in value.items()}
        case list():
            return [_storable_all(item) for item in value]
        case _:
            return value


CHUNK: JsonColumn[ChunkSpec] = JsonColumn(ChunkSpec)
ETAGS: JsonColumn[dict[str, str]] = JsonColumn(dict[str, str])
EVENT: JsonColumn[StreamEvent] = JsonColumn(StreamEvent)
FOUND: JsonColumn[tuple[tuple[Segment, ...], ...]] = JsonColumn(tuple[tuple[Segment, ...], ...])
GAPS: JsonColumn[tuple[Gap, ...]] = JsonColumn(tuple[Gap, ...])
OPENED: JsonColumn[Opened] = JsonColumn(Opened)
OUTPUT: JsonColumn[Output] = JsonColumn(Output)
SEGMENT: JsonColumn[Segment] = JsonColumn(Segment)
PROGRESS: JsonColumn[Progress] = JsonColumn(Progress)
RENDITIONS: JsonColumn[tuple[Rendition, ...]] = JsonColumn(tuple[Rendition, ...])
REPORT: JsonColumn[dict[str, Any]] = JsonColumn(dict[str, Any])
