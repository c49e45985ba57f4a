"""Settings from the environment and ``.env`` (contract section 2), read once and validated.

A value that cannot be used is refused at start with the variable's name. Secrets are
``SecretStr``: printing settings masks them.
"""

import re
import tempfile
from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from ipaddress import ip_network
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from pipeline.errors import SettingsError, UsageError
from pipeline.hosts import HostAndPort, canonical
from pipeline.ingest.addresses import PortRange
from pipeline.kafka_access import KafkaAccess, SaslMechanism, SecurityProtocol
from pipeline.media.limits import MAX_PACKETS, MAX_PICTURE_PIXELS, MediaLimits
from pipeline.media.playlist_text import MAX_PLAYLIST_BYTES, MAX_SEGMENTS, PlaylistLimits
from pipeline.profiles import Profile, find_profile, load_profiles

_UNIT_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")

_SIZE = re.compile(r"([0-9]+) ?(B|KiB|MiB|GiB)?")
_UNIT_BYTES = {None: 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}

_HOST_AND_PORT = re.compile(r"(?:[^\s:/]+|\[[0-9A-Fa-f:.]+\])(?::\d+)?")
# Kafka allows 249; the topic of the dead letters is longer by 4.
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,245}")
OBJECT_NAME_FIELDS = frozenset({"stream_key", "stream_id", "recording_id", "started_at"})


def parse_duration(text: object) -> object:
    """A Go duration (``1m30s``) as ``timedelta``; anything but text passes through.

    >>> parse_duration("1m30s")
    datetime.timedelta(seconds=90)
    """
    if not isinstance(text, str):
        return text
    matches = list(_DURATION.finditer(text.strip()))
    if not matches or "".join(m.group(0) for m in matches) != text.strip():
        raise ValueError("not a duration such as 10s, 1m30s or 500ms")
    return timedelta(seconds=sum(float(m.group(1)) * _UNIT_SECONDS[m.group(2)] for m in matches))


def parse_size(text: object) -> object:
    """A number of bytes (``65536``, ``64KiB``, ``16MiB``); anything but text passes through.

    >>> parse_size("16MiB")
    16777216
    """
    if not isinstance(text, str):
        return text
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError("not a size such as 65536, 64KiB, 16MiB or 1GiB")
    return int(match[1]) * _UNIT_BYTES[match[2]]


def _split_commas(text: object) -> object:
    if isinstance(text, str):
        return tuple(item.strip() for item in text.split(",") if item.strip())
    return text


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be longer than 0s")
    return value


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
Size = Annotated[int, BeforeValidator(parse_size)]
CommaList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_commas)]


class Settings(BaseSettings):
    """Everything that the environment can say. Field names are the variables' in lower case."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,
    )

    database_url: SecretStr | None = None
    db_host: str | None = None
    db_port: int = Field(5432, ge=1, le=65535)
    db_user: str = "postgres"
    db_password: SecretStr = SecretStr("")
    db_name: str = "recordings"

    minio_endpoint: str | None = None
    minio_access_key: str = ""
    minio_secret_key: SecretStr = SecretStr("")
    minio_use_ssl: bool = False
    minio_public_url: str | None = None
    minio_bucket: str = "recordings"
    minio_hls_bucket: str = "hls-streams"

    kafka_brokers: CommaList = ()
    kafka_topic: str = "recording.tasks"
    kafka_group: str = "recording-service"
    kafka_events_topic: str = "recording.events"
    kafka_security_protocol: SecurityProtocol = "PLAINTEXT"
    kafka_sasl_mechanism: SaslMechanism | None = None
    kafka_sasl_username: str = ""
    kafka_sasl_password: SecretStr = SecretStr("")
    kafka_ssl_cafile: Path | None = None
    kafka_ssl_certfile: Path | None = None
    kafka_ssl_keyfile: Path | None = None
    kafka_ssl_key_password: SecretStr = SecretStr("")

    ray_address: str | None = None
    max_workers: int | None = Field(None, ge=1, le=100_000)
    port: int = Field(8083, ge=0, le=65535)
    stream_service_url: str | None = None
    vod_service_url: str | None = None
    grafana_url: str | None = None

    monitor_interval: Duration = timedelta(seconds=10)
    segment_download_timeout: Duration = timedelta(seconds=30)
    max_retry_attempts: int = Field(3, ge=0, le=100)
    retry_delay: Duration = timedelta(seconds=5)
    stall_timeout: Duration = timedelta(seconds=90)
    reconnect_window: Duration = timedelta(seconds=60)

    profiles_file: Path | None = None
    profile: str = "copy"
    gap_policy: Literal["cut", "fill"] = "cut"
    object_name: str = "{stream_key}"
    retention_days: int | None = Field(None, ge=1)
    delete_source_after: Duration | None = None
    disk_alert_percent: int = Field(80, ge=1, le=100)

    webhook_secret: SecretStr | None = None
    auth_secret: SecretStr | None = None
    auth_jwks_url: str | None = None
    auth_issuer: str | None = None
    auth_audience: str | None = None
    allowed_source_hosts: CommaList = ()
    cors_origins: CommaList = ()
    trusted_proxies: CommaList = ()
    rate_limit: int = Field(1000, ge=0, le=1_000_000)

    max_playlist_bytes: Size = Field(MAX_PLAYLIST_BYTES, ge=2**10, le=2**30)
    max_playlist_segments: int = Field(MAX_SEGMENTS, ge=1, le=10_000_000)
    # What a segment becomes has to fit into one part of an upload, 5 GiB.
    max_segment_bytes: Size = Field(512 * 2**20, ge=2**10, le=2**32)
    max_picture_pixels: int = Field(MAX_PICTURE_PIXELS, ge=1, le=2**31 - 1)
    max_packets: int = Field(MAX_PACKETS, ge=1, le=2**31 - 1)
    job_timeout: Duration = timedelta(minutes=15)

    spool_dir: Path = Path(tempfile.gettempdir()) / "vodray-spool"
    max_spool_bytes: Size = Field(4 * 2**30, ge=0, le=2**50)

    ingest_host: str = "127.0.0.1"
    ingest_ports: str = "20900-20963"
    ingest_dir: Path = Path(tempfile.gettempdir()) / "vodray-ingest"
    ingest_max_bytes: Size = Field(4 * 2**30, ge=0, le=2**50)
    ingest_patience: Duration = timedelta(hours=12)

    log_format: Literal["console", "json"] | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    otel_exporter_otlp_endpoint: str | None = None

    @field_validator(
        "monitor_interval",
        "segment_download_timeout",
        "stall_timeout",
        "job_timeout",
        "ingest_patience",
    )
    @classmethod
    def _must_be_positive(cls, value: timedelta) -> timedelta:
        return _positive(value)

    @field_validator("retry_delay", "reconnect_window", "delete_source_after")
    @classmethod
    def _must_not_be_negative(cls, value: timedelta | None) -> timedelta | None:
        if value is not None and value < timedelta(0):
            raise ValueError("must not be negative")
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("minio_endpoint")
    @classmethod
    def _endpoint_is_host_and_port(cls, value: str | None) -> str | None:
        if value is not None and not _HOST_AND_PORT.fullmatch(value):
            raise ValueError("must be host:port; MINIO_USE_SSL says whether it is http or https")
        return value

    @field_validator("kafka_brokers")
    @classmethod
    def _brokers_are_hosts_and_ports(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for broker in value:
            if not _HOST_AND_PORT.fullmatch(broker):
                raise ValueError(
                    f"{broker[:80]!r} is not host:port; KAFKA_SECURITY_PROTOCOL says the protocol"
                )
        return value

    @field_validator("kafka_topic", "kafka_events_topic")
    @classmethod
    def _topics_are_names(cls, value: str) -> str:
        if not _TOPIC.fullmatch(value) or value in (".", ".."):
            raise ValueError("must be 1 to 245 of the characters a-z A-Z 0-9 . _ -")
        return value

    @field_validator("allowed_source_hosts")
    @classmethod
    def _hosts_are_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            if "*" in host:
                raise ValueError(f"{host[:80]!r}: every host is named by itself")
            HostAndPort.parse(host)
        return value

    @field_validator("ingest_host")
    @classmethod
    def _ingest_host_is_a_name(cls, value: str) -> str:
        if re.search(r"[\s/:@?#]", value):
            raise ValueError("must be a name or an IPv4 address that publishers reach, no URL")
        return canonical(value)

    @field_validator("ingest_ports")
    @classmethod
    def _ingest_ports_are_a_range(cls, value: str) -> str:
        PortRange.parse(value)
        return value

    @field_validator(
        "stream_service_url",
        "vod_service_url",
        "auth_jwks_url",
        "grafana_url",
        "otel_exporter_otlp_endpoint",
    )
    @classmethod
    def _must_be_http(cls, value: str | None) -> str | None:
        if value is not None and (
            urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname
        ):
            raise ValueError("must be an http:// or https:// URL")
        return value

    @field_validator("auth_secret")
    @classmethod
    def _must_be_long(cls, value: SecretStr | None) -> SecretStr | None:
        # RFC 7518 section 3.2: as long as what HS256 puts out.
        if value is not None and len(value.get_secret_value().encode()) < 32:
            raise ValueError("must be at least 32 bytes long, such as `openssl rand -hex 32` makes")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _must_be_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            parts = urlsplit(origin)
            if (
                parts.scheme not in ("http", "https")
                or origin != f"{parts.scheme}://{parts.netloc}"
            ):
                raise ValueError(f"{origin[:80]!r} is no origin such as https://www.example.com")
        return value

    @field_validator("minio_public_url")
    @classmethod
    def _must_be_an_origin(cls, value: str | None) -> str | None:
        return value and cls._must_be_origins((value,))[0]

    @field_validator("trusted_proxies")
    @classmethod
    def _must_be_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            ip_network(network)
        return value

    @field_validator("database_url")
    @classmethod
    def _must_be_postgres(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and urlsplit(value.get_secret_value()).scheme not in (
            "postgres",
            "postgresql",
        ):
            raise ValueError("must be a postgres:// URL")
        return value

    @field_validator("object_name")
    @classmethod
    def _template_must_be_known(cls, value: str) -> str:
        try:
            fields = [name for _, name, _, _ in Formatter().parse(value) if name is not None]
        except ValueError as error:
            raise ValueError(f"is no template: {error}") from error
        unknown = [name for name in fields if name not in OBJECT_NAME_FIELDS]
        if unknown or not fields:
            raise ValueError(
                "must use at least one of "
                + ", ".join(f"{{{name}}}" for name in sorted(OBJECT_NAME_FIELDS))
            )
        return value

    @model_validator(mode="after")
    def _buckets_must_differ(self) -> "Settings":
        if self.minio_bucket == self.minio_hls_bucket:
            raise ValueError("MINIO_BUCKET and MINIO_HLS_BUCKET must be two buckets")
        return self

    @model_validator(mode="after")
    def _kafka_must_fit_together(self) -> "Settings":
        # What is told of a recording would be read as a task.
        if self.kafka_events_topic in (self.kafka_topic, f"{self.kafka_topic}.dlq"):
            raise ValueError("KAFKA_TOPIC, its .dlq and KAFKA_EVENTS_TOPIC must be three topics")
        self.kafka_access.check()
        return self

    @model_validator(mode="after")
    def _profile_must_be_there(self) -> "Settings":
        try:
            find_profile(self.profile, self.profiles)
        except SettingsError as error:
            raise ValueError(f"PROFILES_FILE: {error}") from error
        except UsageError as error:
            raise ValueError(f"PROFILE: {error}") from error
        return self

    @cached_property
    def profiles(self) -> Mapping[str, Profile]:
        """By name. Read once, and part of the settings from then on: other machines, and later
        moments, may know another file."""
        return load_profiles(self.profiles_file)

    @property
    def kafka_access(self) -> KafkaAccess:
        return KafkaAccess(
            brokers=self.kafka_brokers,
            protocol=self.kafka_security_protocol,
            mechanism=self.kafka_sasl_mechanism,
            username=self.kafka_sasl_username,
            password=self.kafka_sasl_password,
            cafile=self.kafka_ssl_cafile,
            certfile=self.kafka_ssl_certfile,
            keyfile=self.kafka_ssl_keyfile,
            key_password=self.kafka_ssl_key_password,
        )

    @property
    def ingest_port_range(self) -> PortRange:
        return PortRange.parse(self.ingest_ports)

    @property
    def has_access_control(self) -> bool:
        """As soon as there is anything to tell good tokens by."""
        return self.auth_secret is not None or self.auth_jwks_url is not None

    @property
    def fills_gaps(self) -> bool:
        return self.gap_policy == "fill"

    @property
    def playlist_limits(self) -> PlaylistLimits:
        return PlaylistLimits(
            max_bytes=self.max_playlist_bytes, max_segments=self.max_playlist_segments
        )

    @property
    def media_limits(self) -> MediaLimits:
        return MediaLimits(max_pixels=self.max_picture_pixels, max_packets=self.max_packets)

    @property
    def database_dsn(self) -> str | None:
        """The PostgreSQL URL with its password, or None for the embedded server."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        if self.db_host is None:
            return None
        user, password, name = (
            quote(part, safe="")
            for part in (self.db_user, self.db_password.get_secret_value(), self.db_name)
        )
        return f"postgresql://{user}:{password}@{self.db_host}:{self.db_port}/{name}"


def load_settings(**overrides: Any) -> Settings:
    """Read the environment. Raises ``SettingsError`` that names each bad variable."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        lines = []
        for problem in error.errors(include_url=False, include_input=False):
            name = str(problem["loc"][0]).upper() if problem["loc"] else ""
            reason = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{name}: {reason}" if name else reason)
        raise SettingsError("Bad setting. " + "; ".join(lines)) from error
