"""What the HTTP routes need of the rest of the product, handed to them as plain callables."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from pipeline.activity import Activity
from pipeline.disk import DiskState
from pipeline.ingest.state import Notice
from pipeline.ingest.view import View
from pipeline.measured import Measured
from pipeline.model import StreamEvent
from pipeline.settings import Settings
from pipeline.stores.catalog import Accepted, Catalog
from pipeline.stores.objects import ObjectStore
from pipeline.stores.platform import Platform


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
    segment's reference into a URL that whoever has it may read for a while. ``objects`` has the
    results, ``presign(bucket, key, expires_s)`` an address of one of them for viewers; ``poke``
    tells those who act on recordings that these have changed.
    ``activity`` tells what the workers do, of one recording or of all, ``measure`` what all
    processes tell for metrics, ``disk`` how full the service's disks are; they never fail and
    answer soon, if need be with nothing. ``dashboard_url`` is that of Ray.
    ``ingest``: None where nothing takes streams in.
    """

    settings: Settings
    catalog: Catalog
    submit: Callable[[StreamEvent], Awaitable[Accepted]]
    check_workers: Callable[[], Awaitable[None]]
    check_store: Callable[[], Awaitable[None]]
    address: Callable[[str], str]
    platform: Platform
    objects: ObjectStore
    presign: Callable[[str, str, int], str]
    poke: Callable[[Collection[UUID]], Awaitable[None]]
    activity: Callable[[UUID | None], Awaitable[Activity]]
    measure: Callable[[], Awaitable[Measured]]
    disk: Callable[[], Awaitable[DiskState | None]]
    dashboard_url: str | None = None
    ingest: Ingest | None = None
