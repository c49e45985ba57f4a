"""Where Kafka's brokers are, who we are to them, and how that is kept from others.

The names are Kafka's own: a security protocol, a SASL mechanism, TLS files in PEM form.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import SecretStr

from pipeline.connections import make_tls_context

CLIENT_ID = "vodray"
"""What brokers call us in their logs and quotas."""

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]

_NO_SECRET = SecretStr("")


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaAccess:
    """``cafile``: the authorities that sign the brokers' certificates; without one, those that the
    system trusts. ``certfile``, ``keyfile``: our own certificate, where brokers ask for one."""

    brokers: tuple[str, ...]
    protocol: SecurityProtocol = "PLAINTEXT"
    mechanism: SaslMechanism | None = None
    username: str = ""
    password: SecretStr = _NO_SECRET
    cafile: Path | None = None
    certfile: Path | None = None
    keyfile: Path | None = None
    key_password: SecretStr = _NO_SECRET

    @property
    def uses_sasl(self) -> bool:
        return self.protocol.startswith("SASL_")

    @property
    def uses_tls(self) -> bool:
        return self.protocol.endswith("SSL")

    def check(self) -> None:
        """Raise ``ValueError``, with the variable's name, for what would not work or would leave
        somebody believing in a protection that is not there."""
        protocol = f"KAFKA_SECURITY_PROTOCOL is {self.protocol}"
        if self.protocol != "PLAINTEXT" and not self.brokers:
            raise ValueError(f"KAFKA_BROKERS: {protocol}, but no broker is named")
        for name, value in self._sasl_values().items():
            if self.uses_sasl and not value:
                raise ValueError(f"{name}: {protocol}, which needs it")
            if value and not self.uses_sasl:
                raise ValueError(f"{name}: {protocol}, which does not use it")
        for name, path in self._tls_files().items():
            if path and not self.uses_tls:
                raise ValueError(f"{name}: {protocol}, which does not use it")
        if self.keyfile and not self.certfile:
            raise ValueError("KAFKA_SSL_KEYFILE: KAFKA_SSL_CERTFILE is missing")
        self.tls_context()

    def client_options(self) -> dict[str, Any]:
        """What aiokafka's clients take. Raises ``ValueError`` as ``tls_context`` does."""
        options: dict[str, Any] = {
            "bootstrap_servers": list(self.brokers),
            "client_id": CLIENT_ID,
            "security_protocol": self.protocol,
            "ssl_context": self.tls_context(),
        }
        if self.uses_sasl:
            options |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password.get_secret_value(),
            }
        return options

    def tls_context(self) -> ssl.SSLContext | None:
        """None without TLS. Raises ``ValueError`` for a file that is none of its kind."""
        if not self.uses_tls:
            return None
        try:
            context = make_tls_context(self.cafile)
        except OSError as error:  # ssl.SSLError is one
            raise ValueError(f"KAFKA_SSL_CAFILE: {_why(error)}") from error
        if self.certfile:
            try:
                # Without a password OpenSSL would ask the terminal for one.
                password = self.key_password.get_secret_value
                context.load_cert_chain(self.certfile, self.keyfile, password)
            except (OSError, ValueError) as error:
                raise ValueError(f"KAFKA_SSL_CERTFILE, KAFKA_SSL_KEYFILE: {_why(error)}") from error
        return context

    def _sasl_values(self) -> dict[str, str | None]:
        return {
            "KAFKA_SASL_MECHANISM": self.mechanism,
            "KAFKA_SASL_USERNAME": self.username,
            "KAFKA_SASL_PASSWORD": self.password.get_secret_value(),
        }

    def _tls_files(self) -> dict[str, Path | None]:
        return {
            "KAFKA_SSL_CAFILE": self.cafile,
            "KAFKA_SSL_CERTFILE": self.certfile,
            "KAFKA_SSL_KEYFILE": self.keyfile,
        }


def _why(error: OSError | ValueError) -> str:
    """OpenSSL's words for a file that is empty, or locked with another password, say little."""
    if isinstance(error, ssl.SSLError) or not isinstance(error, OSError):
        return f"not in PEM form, not a pair, or locked with another password ({error})"
    return f"cannot be read: {error.strerror}"
