"""What the HTTP routes need of the rest of the product, handed to them as plain callables."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from pipeline.ingest.state import Notice
from pipeline.ingest.view import View
from pipeline.model import StreamEvent
from pipeline.settings import Settings
from pipeline.stores.catalog import Accepted, Catalog


class Ingest(Protocol):
    """Streams that are published to us: see ``actors.client.Client``."""

    async def ingest_notify(self, notice: Notice) -> View: ...

    async def ingest_status(self) -> tuple[View, ...]: ...

    async def ingest_cleanup(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The product behind the routes.

    ``submit`` writes an event down durably before it returns and tells those who act on it; it
    raises ``CatalogUnavailable``. ``check_workers`` and ``check_store`` raise a ``VodrayError``
    that says what is wrong; they may take longer than a caller wants to wait. ``address`` turns a
    segment's reference into a URL that whoever has it may read for a while. ``ingest``: None
    where nothing takes streams in.
    """

    settings: Settings
    catalog: Catalog
    submit: Callable[[StreamEvent], Awaitable[Accepted]]
    check_workers: Callable[[], Awaitable[None]]
    check_store: Callable[[], Awaitable[None]]
    address: Callable[[str], str]
    ingest: Ingest | None = None
