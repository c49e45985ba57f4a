"""Where publishers send to, and which port a stream gets."""

import secrets
from collections.abc import Collection
from dataclasses import dataclass

from pipeline.errors import IngestFull

RTMP_APP = "live"
# SRT takes 10 to 79 characters; these need no escaping in a URL.
_SECRET_BYTES = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class PortRange:
    """UDP: one port for the SRT listener of each stream. TCP: the first is RTMP's, for all."""

    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> "PortRange":
        """``20900-20963`` or one port. Raises ``ValueError``."""
        first, dash, last = text.partition("-")
        try:
            ports = cls(first=int(first), last=int(last) if dash else int(first))
        except ValueError as error:
            raise ValueError("is no range of ports such as 20900-20963") from error
        if not 1 <= ports.first <= ports.last <= 65535:
            raise ValueError("must be ports from 1 to 65535, the lower one first")
        return ports

    def free(self, taken: Collection[int], wanted: int | None = None) -> int:
        """``wanted`` if nobody has it. Raises ``IngestFull``."""
        ports = range(self.first, self.last + 1)
        if wanted is not None and wanted in ports and wanted not in taken:
            return wanted
        for port in ports:
            if port not in taken:
                return port
        raise IngestFull(
            f"All {len(ports)} ports of INGEST_PORTS are in use", "Stop streams, or allow more"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Urls:
    """Where to publish. They hold the stream's secret."""

    srt: str
    rtmp: str
    rtmp_server: str
    rtmp_key: str


def new_secret() -> str:
    return secrets.token_urlsafe(_SECRET_BYTES)


def urls(host: str, ports: PortRange, port: int, secret: str) -> Urls:
    server = f"rtmp://{host}:{ports.first}/{RTMP_APP}"
    return Urls(
        srt=f"srt://{host}:{port}?mode=caller&passphrase={secret}&pbkeylen=16",
        rtmp=f"{server}/{secret}",
        rtmp_server=server,
        rtmp_key=secret,
    )
