"""PostgreSQL, S3 and Kafka of a test's own, each behind a way that can fail."""

import secrets
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Self

from pipeline.stores.objects_s3 import S3Store
from serve_app.embedded.kafka import KafkaBroker
from serve_app.embedded.postgres import PostgresServer
from serve_app.embedded.process import Command
from serve_app.embedded.s3 import S3Server
from serve_app.embedded.service import free_ports
from tests.faults.relay import Relay
from tests.faults.s3_proxy import S3Proxy

_ADVERTISED = "--advertised-listener-url"


class HiddenBroker(KafkaBroker):
    """Sends its clients to ``advertised`` (``host:port``), as brokers do with all who ask them."""

    def __init__(self, folder: Path, logs: Path) -> None:
        super().__init__(folder, logs)
        self._ports = free_ports(1)
        self.advertised = self.broker

    def _command(self) -> Command:
        command = super()._command()
        at = command.argv.index(_ADVERTISED) + 1
        argv = (*command.argv[:at], f"tcp://{self.advertised}", *command.argv[at + 1 :])
        return replace(command, argv=argv)


class Servers:
    """PostgreSQL, S3 and Kafka, and the ways to them. Run inside its context."""

    def __init__(self, folder: Path) -> None:
        logs = folder / "log"
        logs.mkdir()
        self.postgres = PostgresServer(folder / "postgres", logs, secrets.token_hex(8))
        self.s3 = S3Server(folder / "s3", logs, "faulty-access", secrets.token_hex(8))
        self.kafka = HiddenBroker(folder / "kafka", logs)

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            for server in (self.postgres, self.s3):
                server.start()
                undo.callback(server.stop)
            self.to_postgres = undo.enter_context(Relay(f"127.0.0.1:{self.postgres.port}"))
            self.to_s3 = undo.enter_context(S3Proxy(self.s3.endpoint))
            self.to_kafka = undo.enter_context(Relay(self.kafka.broker))
            self.kafka.advertised = self.to_kafka.address
            self.kafka.start()
            undo.callback(self.kafka.stop)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    @property
    def relays(self) -> dict[str, Relay]:
        return {"postgres": self.to_postgres, "s3": self.to_s3, "kafka": self.to_kafka}

    @property
    def store(self) -> S3Store:
        """The bucket past the way to it."""
        return S3Store(
            self.s3.endpoint, self.s3.access_key, self.s3.secret_key, secure=False, timeout_s=30
        )

    @property
    def variables(self) -> dict[str, str]:
        """What tells a service of them."""
        return {
            "DATABASE_URL": self._dsn(self.to_postgres.port),
            "MINIO_ENDPOINT": self.to_s3.address,
            "MINIO_ACCESS_KEY": self.s3.access_key,
            "MINIO_SECRET_KEY": self.s3.secret_key,
            "MINIO_USE_SSL": "false",
            "KAFKA_BROKERS": self.to_kafka.address,
        }

    @property
    def directly(self) -> dict[str, str]:
        """The endpoints as they are without the ways; Kafka's has none of its own."""
        return {"postgres": self.postgres.dsn, "s3": f"http://{self.s3.endpoint}"}

    def _dsn(self, port: int) -> str:
        return self.postgres.dsn.replace(f":{self.postgres.port}/", f":{port}/")
