"""``vodray up`` that cannot start ends with one clear line and an exit code, never a traceback."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serve_app.embedded.service import free_ports
from tests.e2e.service import READY_S, Service, vodray
from tests.e2e.world import World

pytestmark = pytest.mark.timeout(240)


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = vodray("up", "--data-dir", tmp_path / "data", "--port", port, cwd=tmp_path)
    assert done.code == 2
    assert f"Port {port} cannot be used: Address already in use" in done.complaint


def test_a_port_that_is_taken_while_it_starts(tmp_path: Path) -> None:
    service = Service(tmp_path)
    (service.port,) = free_ports(1)
    with ThreadPoolExecutor(1) as pool, socket.socket() as taken:
        starting = pool.submit(service.start)
        give_up = time.monotonic() + READY_S
        while not service.log.exists() or "starting Ray" not in service.log.read_text():
            assert time.monotonic() < give_up
            time.sleep(0.05)
        taken.bind(("0.0.0.0", service.port))
        taken.listen()
        said = str(starting.exception(READY_S))
    assert f"Port {service.port} cannot be used: Address already in use" in said


def test_a_data_folder_in_use(world: World, tmp_path: Path) -> None:
    done = vodray("up", "--data-dir", world.endpoints["data_dir"], "--port", "0", cwd=tmp_path)
    assert done.code == 2
    assert f"{world.endpoints['data_dir']} is in use by another vodray (process" in done.complaint
    assert world.http.get("/health").status_code == 200


def test_a_data_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    done = vodray("up", "--data-dir", tmp_path / "data", "--port", "0", cwd=tmp_path)
    assert done.code == 2
    assert f"{tmp_path / 'data'} cannot hold our data" in done.complaint


def test_a_setting_that_cannot_be_meant(tmp_path: Path) -> None:
    done = vodray("up", cwd=tmp_path, MONITOR_INTERVAL="10", MINIO_ENDPOINT="http://s3")
    assert done.code == 2
    assert "MONITOR_INTERVAL: not a duration" in done.complaint
    assert "MINIO_ENDPOINT: must be host:port" in done.complaint


def s3_of(world: World, **changes: str) -> dict[str, str]:
    return {
        "MINIO_ENDPOINT": world.endpoints["s3"].removeprefix("http://"),
        "MINIO_ACCESS_KEY": world.endpoints["s3_access_key"],
        "MINIO_SECRET_KEY": world.endpoints["s3_secret_key"],
        **changes,
    }


@pytest.mark.parametrize("variable", ["MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"])
def test_wrong_s3_credentials(world: World, tmp_path: Path, variable: str) -> None:
    wrong = s3_of(world, **{variable: "wrong-and-secret"})
    done = vodray("up", "--data-dir", tmp_path / "data", "--port", "0", cwd=tmp_path, **wrong)
    assert done.code == 1
    assert "Check MINIO_ACCESS_KEY and MINIO_SECRET_KEY" in done.complaint
    assert "wrong-and-secret" not in done.err + done.out


def test_no_s3_there(world: World, tmp_path: Path) -> None:
    nobody = s3_of(world, MINIO_ENDPOINT="127.0.0.1:9")
    done = vodray("up", "--data-dir", tmp_path / "data", "--port", "0", cwd=tmp_path, **nobody)
    assert done.code == 1
    assert "127.0.0.1:9" in done.complaint


def test_a_bucket_that_cannot_be(world: World, tmp_path: Path) -> None:
    wrong = s3_of(world, MINIO_BUCKET="No_Such Bucket!")
    done = vodray("up", "--data-dir", tmp_path / "data", "--port", "0", cwd=tmp_path, **wrong)
    assert done.code in (1, 2)
    assert "No_Such Bucket!" in done.complaint


def test_a_wrong_database_password(world: World, tmp_path: Path) -> None:
    dsn = world.endpoints["postgres"]
    wrong = dsn.replace(dsn.split("@")[0].rpartition(":")[2], "wrong-and-secret")
    done = vodray(
        "up", "--data-dir", tmp_path / "data", "--port", "0", cwd=tmp_path, DATABASE_URL=wrong
    )
    assert done.code == 1
    assert "password authentication failed" in done.complaint
    assert "wrong-and-secret" not in done.err + done.out
