"""What the environment may say, and how a bad value is refused."""

import pickle
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import SettingsError
from pipeline.load import source_limits
from pipeline.media.limits import MediaLimits
from pipeline.media.playlist_text import PlaylistLimits
from pipeline.settings import Settings, load_settings, parse_duration, parse_size
from tests.apache_kafka.certificates import Authority


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10),
        ("1m30s", 90),
        ("500ms", 0.5),
        ("1h", 3600),
        ("1.5h", 5400),
        (".5s", 0.5),
        ("2us", 2e-6),
        (" 3s ", 3),
    ],
)
def test_durations_as_go_writes_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "10", "s", "10 s", "1d", "-1s", "1s!", "s1", "1m 30s"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@given(st.text(max_size=20))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    try:
        found = parse_duration(text)
    except ValueError:
        return
    assert isinstance(found, timedelta)


@pytest.mark.parametrize(
    ("text", "size"),
    [("65536", 65536), ("64KiB", 65536), (" 16MiB ", 16 * 2**20), ("1 GiB", 2**30), ("7B", 7)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "KiB", "1.5MiB", "-1", "1MB", "1kib", "1e6", "\u0661"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


def test_limits_reach_those_who_hold_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("MAX_PLAYLIST_BYTES", "64KiB"),
        ("MAX_PLAYLIST_SEGMENTS", "10"),
        ("MAX_SEGMENT_BYTES", "1MiB"),
        ("MAX_PICTURE_PIXELS", "1000"),
        ("MAX_PACKETS", "100"),
        ("JOB_TIMEOUT", "1m"),
    ):
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.playlist_limits == PlaylistLimits(max_bytes=65536, max_segments=10)
    assert settings.media_limits == MediaLimits(max_pixels=1000, max_packets=100)
    assert source_limits(settings).max_bytes == 2**20
    assert settings.job_timeout == timedelta(minutes=1)


@pytest.mark.parametrize(
    "hosts",
    [
        *("https://cdn.example", "cdn.example/live", "u@cdn.example"),
        *("*", "*.example", "a b", "a:x", "a:99999", "a..b"),
    ],
)
def test_what_names_no_host_is_refused(hosts: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_SOURCE_HOSTS", f"good.example,{hosts}")
    with pytest.raises(SettingsError, match="ALLOWED_SOURCE_HOSTS"):
        load_settings()


def test_hosts_that_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_SOURCE_HOSTS", "cdn.example, 10.0.0.7:8080,[::1]:80,b\u00fccher.de")
    assert len(load_settings().allowed_source_hosts) == 4


def test_without_an_environment() -> None:
    settings = load_settings()
    assert (settings.port, settings.minio_bucket, settings.profile) == (8083, "recordings", "copy")
    assert settings.stall_timeout == timedelta(seconds=90)
    assert settings.database_dsn is None
    assert settings.kafka_brokers == ()


def test_the_environment_and_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("PORT=9000\nKAFKA_BROKERS=a:1, b:2 ,\nSTALL_TIMEOUT=2m\n", "utf-8")
    monkeypatch.setenv("PORT", "9001")
    monkeypatch.setenv("MINIO_BUCKET", "")
    settings = load_settings()
    assert settings.port == 9001
    assert settings.kafka_brokers == ("a:1", "b:2")
    assert settings.stall_timeout == timedelta(minutes=2)
    assert settings.minio_bucket == "recordings"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "eighty"),
        ("PORT", "70000"),
        ("MINIO_PUBLIC_URL", "media.example.com"),
        ("MINIO_PUBLIC_URL", "https://media.example.com/bucket"),
        ("STALL_TIMEOUT", "90"),
        ("STALL_TIMEOUT", "0s"),
        ("MONITOR_INTERVAL", "0s"),
        ("MAX_RETRY_ATTEMPTS", "-1"),
        ("MINIO_ENDPOINT", "http://minio:9000"),
        ("MINIO_ENDPOINT", "minio:9000/path"),
        ("DATABASE_URL", "mysql://db/x"),
        ("VOD_SERVICE_URL", "ftp://vod"),
        ("KAFKA_BROKERS", "a:1,kafka://b:2"),
        ("KAFKA_TOPIC", "a b"),
        ("KAFKA_EVENTS_TOPIC", "x" * 246),
        ("KAFKA_EVENTS_TOPIC", "recording.tasks.dlq"),
        ("KAFKA_SECURITY_PROTOCOL", "TLS"),
        ("KAFKA_SECURITY_PROTOCOL", "sasl_ssl"),
        ("KAFKA_SASL_MECHANISM", "GSSAPI"),
        ("KAFKA_SASL_MECHANISM", "PLAIN"),
        ("KAFKA_SASL_USERNAME", "vodray"),
        ("KAFKA_SASL_PASSWORD", "hunter2"),
        ("KAFKA_SSL_CAFILE", "ca.pem"),
        ("OBJECT_NAME", "fixed"),
        ("OBJECT_NAME", "{title}"),
        ("OBJECT_NAME", "{stream_key"),
        ("GAP_POLICY", "stretch"),
        ("PROFILE", "h265"),
        ("PROFILES_FILE", "gone.toml"),
        ("LOG_LEVEL", "loud"),
        ("RETENTION_DAYS", "0"),
        ("DISK_ALERT_PERCENT", "101"),
        ("MAX_PLAYLIST_BYTES", "16MB"),
        ("MAX_PLAYLIST_BYTES", "0"),
        ("MAX_PLAYLIST_SEGMENTS", "0"),
        ("MAX_SEGMENT_BYTES", "5GiB"),
        ("MAX_PICTURE_PIXELS", "8192x8192"),
        ("MAX_PACKETS", "0"),
        ("JOB_TIMEOUT", "0s"),
    ],
)
def test_a_bad_value_is_refused_by_name(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        load_settings()


def test_all_bad_values_are_named_at_once_and_no_secret_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PORT", "x")
    monkeypatch.setenv("STALL_TIMEOUT", "x")
    monkeypatch.setenv("DATABASE_URL", "mysql://user:hunter2@db/x")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    for name in ("PORT", "STALL_TIMEOUT", "DATABASE_URL"):
        assert name in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_profile_may_be_one_of_the_file_s(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("own.toml").write_text("[web]\npictures = 'none'\n", "utf-8")
    monkeypatch.setenv("PROFILE", "web")
    with pytest.raises(SettingsError, match="PROFILE: There is no profile 'web'"):
        load_settings()
    monkeypatch.setenv("PROFILES_FILE", "own.toml")
    settings = load_settings()
    # Another process may know no such file.
    Path("own.toml").unlink()
    assert pickle.loads(pickle.dumps(settings)).profiles["web"].pictures == "none"


SASL = {
    "KAFKA_BROKERS": "kafka:9093",
    "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
    "KAFKA_SASL_USERNAME": "vodray",
    "KAFKA_SASL_PASSWORD": "hunter2 hunter2",
}


@pytest.mark.parametrize("missing", ["BROKERS", "SASL_MECHANISM", "SASL_USERNAME", "SASL_PASSWORD"])
def test_what_kafka_s_protocol_needs_must_be_there(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SASL.items():
        if name != f"KAFKA_{missing}":
            monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"KAFKA_{missing}") as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)


def test_who_we_are_to_kafka(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in SASL.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    for text in (repr(settings), repr(settings.kafka_access), str(settings.model_dump())):
        assert "hunter2" not in text
    options = settings.kafka_access.client_options()
    assert options["sasl_plain_password"] == "hunter2 hunter2"
    assert options["ssl_context"].check_hostname
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT")
    assert load_settings().kafka_access.client_options()["ssl_context"] is None


def test_the_files_of_kafka_s_tls_are_looked_at(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    own, other = authority.sign("own", key_password=b"locked"), authority.sign("other")
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate", "utf-8")
    monkeypatch.setenv("KAFKA_BROKERS", "kafka:9093")
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SSL")
    good = {"CAFILE": authority.cafile, "CERTFILE": own.certfile, "KEYFILE": own.keyfile}
    bad = [
        ({"CAFILE": tmp_path / "gone.pem"}, "KAFKA_SSL_CAFILE: cannot be read: No such file"),
        ({"CAFILE": broken}, "KAFKA_SSL_CAFILE: not in PEM form"),
        ({"KEYFILE": other.keyfile}, "KAFKA_SSL_CERTFILE, KAFKA_SSL_KEYFILE: .*not a pair"),
        ({"KEY_PASSWORD": "wrong"}, "KAFKA_SSL_CERTFILE, KAFKA_SSL_KEYFILE: .*another password"),
        ({"KEY_PASSWORD": ""}, "KAFKA_SSL_CERTFILE, KAFKA_SSL_KEYFILE: .*another password"),
        ({"CERTFILE": ""}, "KAFKA_SSL_KEYFILE: KAFKA_SSL_CERTFILE is missing"),
    ]
    for changed, words in [*bad, ({}, "")]:
        for name, value in {**good, "KEY_PASSWORD": "locked", **changed}.items():
            monkeypatch.setenv(f"KAFKA_SSL_{name}", str(value))
        if words:
            with pytest.raises(SettingsError, match=words):
                load_settings()
        else:
            load_settings()


def test_two_buckets_must_be_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIO_HLS_BUCKET", "recordings")
    with pytest.raises(SettingsError, match="MINIO_BUCKET and MINIO_HLS_BUCKET"):
        load_settings()


def test_the_database_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_HOST", "db.example")
    monkeypatch.setenv("DB_PASSWORD", "p@ss:w/rd")
    settings = load_settings()
    assert (
        settings.database_dsn == "postgresql://postgres:p%40ss%3Aw%2Frd@db.example:5432/recordings"
    )
    assert "p@ss" not in repr(settings)
    assert "p@ss" not in str(settings.model_dump())
