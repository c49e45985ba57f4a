"""One line for every change that somebody made, in PostgreSQL and in the log."""

from typing import Any
from uuid import UUID

import structlog
from fastapi import Request

from pipeline.errors import CatalogUnavailable
from pipeline.stores.platform import Change
from serve_app.access.caller import Caller
from serve_app.access.limits import address_of
from serve_app.services import Services

_log = structlog.get_logger(__name__)


async def note(
    request: Request, caller: Caller, action: str, subject: UUID | str, **details: Any
) -> None:
    """Behind the change: what is done stays done, also where the line cannot be written."""
    services: Services = request.app.state.services
    change = Change(
        actor=caller.name,
        address=address_of(request.scope, services.settings),
        action=action,
        subject=str(subject),
        details=details,
    )
    _log.info(
        "audit", actor=change.actor, address=change.address, action=action, subject=change.subject
    )
    try:
        await services.platform.note(change)
    except CatalogUnavailable as error:
        _log.error("audit_lost", action=action, subject=change.subject, reason=str(error))
