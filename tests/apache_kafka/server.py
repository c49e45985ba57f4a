"""Apache Kafka itself, one node in KRaft mode with a listener for each way in."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import SecretStr

from pipeline.kafka_access import KafkaAccess, SaslMechanism
from serve_app.embedded.process import Command, clean_environment
from serve_app.embedded.service import LOOPBACK, Service, accepts_connections, free_ports
from tests.apache_kafka.certificates import Authority

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "a password: %/@?"
_SCRAM: tuple[SaslMechanism, ...] = ("SCRAM-SHA-256", "SCRAM-SHA-512")
USERS = ("vodray", "limited")
"""``vodray`` may do everything, ``limited`` what an ACL allows."""
_FORMAT_TIMEOUT_S = 60
_HEAP = "-Xmx512m"
_JVM = (_HEAP, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
_LOGS = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",)

Listener = Literal["PLAINTEXT", "RELAYED", "TLS", "SASL_TLS", "CONTROLLER"]
_PROTOCOLS: dict[Listener, str] = {
    "PLAINTEXT": "PLAINTEXT",
    "RELAYED": "PLAINTEXT",
    "TLS": "SSL",
    "SASL_TLS": "SASL_SSL",
    "CONTROLLER": "PLAINTEXT",
}


@dataclass(frozen=True, slots=True)
class Java:
    """What ``.ci/kafka`` prints: the program and the class path."""

    program: str
    class_path: str

    @classmethod
    def found(cls) -> "Java":
        """Fetches what is missing, unless ``make`` has done that."""
        told = os.environ.get("APACHE_KAFKA")
        if not told:
            script = ROOT / ".ci" / "kafka"
            told = subprocess.run([script], check=True, capture_output=True, text=True).stdout
        return cls(*told.strip().split(" ", 1))


class ApacheKafka(Service):
    """The listener RELAYED sends its clients to ``relay_port``, for a relay to listen on."""

    title = "Apache Kafka"
    ready_s = 90.0

    def __init__(self, folder: Path, logs: Path) -> None:
        super().__init__(folder, logs)
        self._java = Java.found()
        *ports, self.relay_port = free_ports(len(_PROTOCOLS) + 1)
        self._ports = tuple(ports)
        self.authority = Authority(self.folder / "tls")
        self._own = self.authority.sign("broker")
        self._data = self.folder / "data"
        self._properties = self.folder / "server.properties"

    def address(self, listener: Listener) -> str:
        return f"{LOOPBACK}:{self._ports[list(_PROTOCOLS).index(listener)]}"

    @property
    def plain(self) -> KafkaAccess:
        return KafkaAccess(brokers=(self.address("PLAINTEXT"),))

    def sasl(self, mechanism: SaslMechanism = "SCRAM-SHA-512", user: str = "vodray") -> KafkaAccess:
        return KafkaAccess(
            brokers=(self.address("SASL_TLS"),),
            protocol="SASL_SSL",
            mechanism=mechanism,
            username=user,
            password=SecretStr(PASSWORD),
            cafile=self.authority.cafile,
        )

    def _program(self) -> Path:
        return Path(self._java.program)

    def _prepare(self) -> None:
        self._properties.write_text(
            "".join(f"{name}={value}\n" for name, value in self._settings().items()), "utf-8"
        )
        if self._data.exists():
            return
        users = [
            f"{mechanism}=[name={user},password={PASSWORD}]"
            for mechanism in _SCRAM
            for user in USERS
        ]
        subprocess.run(
            [
                *self._jvm("kafka.tools.StorageTool"),
                *("format", "--cluster-id", "dm9kcmF5LXRlc3QtMDAwMQ", "--config", self._properties),
                *(part for user in users for part in ("--add-scram", user)),
            ],
            check=True,
            env=clean_environment(),
            timeout=_FORMAT_TIMEOUT_S,
            stdout=subprocess.DEVNULL,
        )

    def _command(self) -> Command:
        return Command(
            title=self.title,
            argv=(*self._jvm("kafka.Kafka"), str(self._properties)),
            folder=self.folder,
            log=self.log,
        )

    def _is_ready(self) -> bool:
        return all(accepts_connections(port) for port in self._ports)

    def _jvm(self, main: str) -> tuple[str, ...]:
        return (self._java.program, *_JVM, *_LOGS, "-cp", self._java.class_path, main)

    def _settings(self) -> dict[str, str]:
        listeners = {name: f"{name}://{self.address(name)}" for name in _PROTOCOLS}
        advertised = {**listeners, "RELAYED": f"RELAYED://{LOOPBACK}:{self.relay_port}"}
        del advertised["CONTROLLER"]
        users = " ".join(f'user_{user}="{PASSWORD}"' for user in USERS)
        login = "org.apache.kafka.common.security"
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{self.address('CONTROLLER')}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listeners": ",".join(listeners.values()),
            "advertised.listeners": ",".join(advertised.values()),
            "listener.security.protocol.map": ",".join(
                f"{name}:{protocol}" for name, protocol in _PROTOCOLS.items()
            ),
            "log.dirs": str(self._data),
            # One node has one copy of everything.
            "default.replication.factor": "1",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "2",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "2",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "auto.create.topics.enable": "false",
            # Tests need not wait for what people need not wait for either.
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "500",
            "log.cleaner.backoff.ms": "200",
            "log.retention.check.interval.ms": "60000",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS;User:vodray;User:CN=vodray",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self._own.both),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority.cafile),
            "listener.name.tls.ssl.client.auth": "required",
            "listener.name.sasl_tls.sasl.enabled.mechanisms": ",".join(("PLAIN", *_SCRAM)),
            "listener.name.sasl_tls.plain.sasl.jaas.config": (
                f"{login}.plain.PlainLoginModule required {users};"
            ),
            **{
                f"listener.name.sasl_tls.{mechanism.lower()}.sasl.jaas.config": (
                    f"{login}.scram.ScramLoginModule required;"
                )
                for mechanism in _SCRAM
            },
        }
