"""All errors of the product, each knowing whether a retry can help and whose fault it is.

    VodrayError
    ├── UsageError            a command or setting that cannot be meant
    │   ├── SettingsError
    │   ├── DataDirBusy
    │   └── SchemaTooNew      a newer release has migrated this database
    ├── BackupInvalid         a file that no catalogue can be restored from
    ├── InvalidTask           a webhook or message that is no task
    ├── RecordingNotFound
    ├── VideoNotFound
    ├── Conflict              the recording's state does not allow it
    ├── Cancelled
    ├── SourceError           the stream's own playlist or media
    │   ├── SourceMissing     (retry: it may appear)
    │   ├── SourceUnavailable (retry: its server is slow or failing)
    │   ├── SourceForbidden   refused by our access rules
    │   ├── PlaylistInvalid
    │   ├── MediaInvalid      bytes that are not the media they claim to be
    │   └── Unsupported
    ├── StoreError            the object store for results
    │   ├── StoreUnavailable  (retry)
    │   ├── StoreDenied
    │   ├── BucketMissing
    │   └── ObjectMissing
    ├── NotInstalled          an optional part of the product
    ├── IngestFull            (retry) no further stream can be taken in
    ├── StreamNotFound        not announced to the ingest
    ├── EncoderMissing        this machine cannot make what a profile names
    ├── CatalogUnavailable    (retry) PostgreSQL is away
    ├── BrokerUnavailable     (retry) Kafka is away
    ├── AuthUnavailable       (retry) the auth service's keys cannot be had
    ├── VodServiceFailed      the external VOD service refuses, fails or does not answer
    ├── ServiceFailed         an embedded service did not start
    ├── WorkerLost            (retry) a process of ours died
    ├── JobIsPoison           whatever worker does this job dies of it
    └── VerificationFailed    what we made is not what came in

Exceptions cross process borders inside Ray: every argument is positional and handed to
``super().__init__``, so that pickling restores them.
"""

from enum import StrEnum
from typing import ClassVar

_MAX_MESSAGE = 600


class Fault(StrEnum):
    """Whose fault an error is: decides HTTP status, retry and alerting."""

    CALLER = "caller"
    SOURCE = "source"
    SERVER = "server"
    OURS = "ours"


class VodrayError(Exception):
    """An error with a message for people: the cause first, then the remedy if there is one."""

    retry: ClassVar[bool] = False
    fault: ClassVar[Fault] = Fault.OURS

    def __init__(self, message: str, remedy: str = "") -> None:
        message = _printable(message)
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}. {self.remedy}" if self.remedy else self.message


def _printable(message: str) -> str:
    """On one line that any log, database and terminal takes: names and addresses in it come from
    outside."""
    if len(message) > _MAX_MESSAGE:
        message = f"{message[: _MAX_MESSAGE - 4]} ..."
    if message.isprintable():
        return message
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in message)


class UsageError(VodrayError):
    fault = Fault.CALLER


class SettingsError(UsageError):
    """A variable of the environment has a value that cannot be used; the message names it."""


class DataDirBusy(UsageError):
    """Another process serves from the same data directory."""


class SchemaTooNew(UsageError):
    """The database was migrated by a newer release than this one."""


class BackupInvalid(VodrayError):
    fault = Fault.CALLER


class InvalidTask(VodrayError):
    fault = Fault.CALLER


class RecordingNotFound(VodrayError):
    fault = Fault.CALLER


class VideoNotFound(VodrayError):
    fault = Fault.CALLER


class Conflict(VodrayError):
    fault = Fault.CALLER


class Cancelled(VodrayError):
    fault = Fault.CALLER


class SourceError(VodrayError):
    fault = Fault.SOURCE


class SourceMissing(SourceError):
    retry = True


class SourceUnavailable(SourceError):
    retry = True


class SourceForbidden(SourceError):
    pass


class PlaylistInvalid(SourceError):
    pass


class MediaInvalid(SourceError):
    pass


class Unsupported(SourceError):
    pass


class NotInstalled(VodrayError):
    """An optional part that is not installed here; the remedy says how it becomes so."""

    fault = Fault.SERVER


class IngestFull(VodrayError):
    """No further stream can be taken in now."""

    retry = True
    fault = Fault.SERVER


class StreamNotFound(VodrayError):
    """No such stream was announced to the ingest."""

    fault = Fault.CALLER


class EncoderMissing(VodrayError):
    """An encoder that FFmpeg lacks here, or that cannot be opened; the message names it."""

    fault = Fault.SERVER


class StoreError(VodrayError):
    fault = Fault.SERVER


class StoreUnavailable(StoreError):
    retry = True


class StoreDenied(StoreError):
    pass


class BucketMissing(StoreError):
    pass


class ObjectMissing(StoreError):
    pass


class CatalogUnavailable(VodrayError):
    retry = True
    fault = Fault.SERVER


class BrokerUnavailable(VodrayError):
    retry = True
    fault = Fault.SERVER


class AuthUnavailable(VodrayError):
    retry = True
    fault = Fault.SERVER


class VodServiceFailed(VodrayError):
    """``status``: what it answered, 0: nothing."""

    fault = Fault.SERVER

    def __init__(self, message: str, remedy: str = "", status: int = 0) -> None:
        super().__init__(message, remedy)
        self.args = (message, remedy, status)
        self.status = status


class ServiceFailed(VodrayError):
    fault = Fault.SERVER


class WorkerLost(VodrayError):
    retry = True


class JobIsPoison(VodrayError):
    pass


class VerificationFailed(VodrayError):
    pass
