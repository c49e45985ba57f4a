"""Who calls, as far as routes need to know it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pipeline.model import Recording


class Scope(StrEnum):
    """``admin``: of everybody's recordings, and both others."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """``user_id``: whose recordings are meant, None: everybody's. ``is_known``: they have shown who
    they are; without access control nobody has. ``token_id``, ``expires_at``: of their token."""

    scopes: frozenset[Scope]
    user_id: str | None = None
    is_known: bool = False
    token_id: str | None = None
    expires_at: datetime | None = None

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def sees(self, recording: Recording) -> bool:
        return self.owner is None or recording.user_id == self.owner

    @property
    def owner(self) -> str | None:
        """Whose recordings they are limited to; None: nobody's, as for services, whose tokens name
        no user."""
        return None if Scope.ADMIN in self.scopes else self.user_id

    @property
    def name(self) -> str:
        """For the audit."""
        return self.user_id or ("service" if self.is_known else "anonymous")


ANYBODY = Caller(scopes=frozenset(Scope))
"""Where there is no access control."""
