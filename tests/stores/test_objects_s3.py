"""What only a server can do to an ``S3Store``: refuse, fail, vanish, come back, lose an answer."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from pipeline.errors import (
    BucketMissing,
    ObjectMissing,
    SettingsError,
    SourceForbidden,
    StoreDenied,
    StoreError,
    StoreUnavailable,
)
from pipeline.stores.objects_s3 import S3Store
from pipeline.transfer import TransferLimits, fetch, store
from serve_app.embedded.s3 import S3Server
from tests.conftest import S3
from tests.faults.acts import (
    ERROR_IN_200,
    INTERNAL,
    NO_UPLOAD,
    SLOW_DOWN,
    Act,
    Answer,
    Cut,
    Length,
    Reset,
    Rule,
)
from tests.faults.s3_proxy import S3Proxy

LIMITS = TransferLimits(timeout_s=10, attempts=1, retry_delay_s=0, max_bytes=1 << 20)


@pytest.fixture
def proxy(s3: S3) -> Iterator[S3Proxy]:
    with S3Proxy(s3.endpoint) as running:
        yield running


def connect(s3: S3, endpoint: str | None = None) -> S3Store:
    return S3Store(
        endpoint or s3.endpoint, s3.access_key, s3.secret_key, secure=False, timeout_s=10
    )


@pytest.fixture
def bucket(s3: S3, new_bucket_name: Callable[[], str]) -> str:
    name = new_bucket_name()
    connect(s3).ensure_bucket(name)
    return name


@pytest.fixture
def spoiled(s3: S3, bucket: str, proxy: S3Proxy) -> S3Store:
    """A store whose server is behind the proxy, its region known already."""
    objects = connect(s3, proxy.address)
    objects.check_bucket(bucket)
    return objects


# --- keys and buckets -------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", ["access_key", "secret_key", "none"])
def test_wrong_credentials(s3: S3, bucket: str, wrong: str) -> None:
    access = {"access_key": "nobody", "none": ""}.get(wrong, s3.access_key)
    secret = {"secret_key": "wr0ng-s3cret", "none": ""}.get(wrong, s3.secret_key)
    objects = S3Store(s3.endpoint, access, secret, secure=False)
    calls: list[Callable[[], object]] = [
        lambda: objects.check_bucket(bucket),
        lambda: objects.ensure_bucket(bucket),
        lambda: objects.get(bucket, "x", max_bytes=10),
        lambda: objects.put(bucket, "x", b"x", "text/plain"),
        lambda: list(objects.list(bucket, "")),
        lambda: objects.create_upload(bucket, "x", "text/plain"),
    ]
    for call in calls:
        with pytest.raises(StoreDenied, match=r"MINIO_ACCESS_KEY.*MINIO_SECRET_KEY") as caught:
            call()
        assert s3.endpoint in caught.value.message
        assert "wr0ng" not in str(caught.value)


def test_a_missing_bucket_has_a_remedy(s3: S3) -> None:
    with pytest.raises(BucketMissing, match="MINIO_BUCKET") as caught:
        connect(s3).put("nowhere", "x", b"x", "text/plain")
    assert "nowhere" in caught.value.message
    with pytest.raises(BucketMissing, match="nowhere"):
        connect(s3).check_bucket("nowhere")


@pytest.mark.parametrize("endpoint", ["host:port", "host/path"])
def test_an_endpoint_that_is_none(endpoint: str) -> None:
    with pytest.raises(SettingsError, match="MINIO_ENDPOINT"):
        S3Store(endpoint, "a", "b", secure=False)


# --- presigned URLs ---------------------------------------------------------------------------


def test_presigning_asks_nobody(spoiled: S3Store, bucket: str, proxy: S3Proxy) -> None:
    proxy.calls.clear()
    for number in range(1, 20):
        spoiled.presign_get(bucket, f"{number}", expires_s=60)
        spoiled.presign_put_part(bucket, "x", "id", number, expires_s=60)
    assert proxy.calls == []


def test_what_viewers_get_is_of_the_public_host(s3: S3, bucket: str) -> None:
    public = "https://media.example.com"
    objects = S3Store(s3.endpoint, s3.access_key, s3.secret_key, secure=False, public_url=public)
    objects.put(bucket, "a/x y", b"data", "text/plain")
    url = objects.presign_public(bucket, "a/x y", 60)
    assert url.startswith(f"{public}/{bucket}/a/x%20y?X-Amz-")
    here = url.replace(public, f"http://{s3.endpoint}")
    # As a gateway asks: the host is what is signed.
    assert httpx.get(here, headers={"Host": "media.example.com"}).content == b"data"
    assert httpx.get(here).status_code == 403
    assert objects.presign_get(bucket, "x", expires_s=60).startswith(f"http://{s3.endpoint}/")
    same = connect(s3)
    assert same.presign_public(bucket, "x", 60).startswith(f"http://{s3.endpoint}/")


def test_presigned_urls_are_for_one_thing_and_a_while(s3: S3, bucket: str) -> None:
    objects = connect(s3)
    objects.put(bucket, "x", b"data", "text/plain")
    get = objects.presign_get(bucket, "x", expires_s=1)
    with pytest.raises(StoreDenied):
        store(get, b"overwritten", limits=LIMITS)
    with pytest.raises(SourceForbidden):
        fetch(get.replace("/x?", "/y?"), byte_range=None, limits=LIMITS)
    put = objects.presign_put(bucket, "x", expires_s=1)
    time.sleep(1.2)
    with pytest.raises(SourceForbidden):
        fetch(get, byte_range=None, limits=LIMITS)
    with pytest.raises(StoreDenied):
        store(put, b"too late", limits=LIMITS)
    assert objects.get(bucket, "x", max_bytes=10) == b"data"
    assert objects.presign_get(bucket, "x", expires_s=10**9)


# --- a server that fails ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "act",
    [SLOW_DOWN, INTERNAL, Answer(502, b"bad", "text/html"), Answer(503), Reset()],
    ids=["SlowDown", "InternalError", "gateway", "empty 503", "reset"],
)
def test_failures_that_pass(spoiled: S3Store, bucket: str, proxy: S3Proxy, act: Act) -> None:
    for call in (
        lambda: spoiled.check_bucket(bucket),
        lambda: spoiled.put(bucket, "a/x", b"data", "text/plain"),
        lambda: spoiled.stat(bucket, "a/x"),
        lambda: list(spoiled.list(bucket, "a/")),
        lambda: spoiled.uploads(bucket, ""),
        lambda: spoiled.delete(bucket, ["a/y"]),
    ):
        proxy.script(Rule(act=act))
        call()
        assert len(proxy.spoiled) == 1
    proxy.script(Rule(act=act))
    assert spoiled.get(bucket, "a/x", max_bytes=10) == b"data"


def test_failures_that_stay(spoiled: S3Store, bucket: str, proxy: S3Proxy) -> None:
    proxy.script(Rule(act=SLOW_DOWN, count=10))
    with pytest.raises(StoreUnavailable, match="SlowDown"):
        spoiled.create_upload(bucket, "x", "video/mp4")
    assert len(proxy.spoiled) == 4


def test_something_else_than_s3(spoiled: S3Store, bucket: str, proxy: S3Proxy) -> None:
    proxy.script(Rule(act=Answer(200, b"<html>router log in", "text/html"), count=4))
    with pytest.raises(StoreUnavailable, match="MINIO_ENDPOINT"):
        list(spoiled.list(bucket, ""))


def test_a_body_that_breaks_off_is_read_again(
    spoiled: S3Store, bucket: str, proxy: S3Proxy
) -> None:
    spoiled.put(bucket, "x", b"0123456789" * 1000, "text/plain")
    proxy.script(Rule(act=Cut(), call="^GET"))
    assert spoiled.get(bucket, "x", max_bytes=10_000) == b"0123456789" * 1000
    assert len(proxy.spoiled) == 1


# --- completing an upload ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "acts",
    [[Reset(after=True)], [Reset(after=True), NO_UPLOAD], [ERROR_IN_200], [SLOW_DOWN]],
    ids=["answer lost", "answer lost, upload gone", "error in 200", "SlowDown"],
)
def test_completing_survives(
    spoiled: S3Store, bucket: str, proxy: S3Proxy, acts: list[Act]
) -> None:
    upload_id = spoiled.create_upload(bucket, "x.mp4", "video/mp4")
    parts = [spoiled.put_part(bucket, "x.mp4", upload_id, 3, b"media")]
    proxy.script(*(Rule(act=act, call="^POST", first=n) for n, act in enumerate(acts, 1)))
    info = spoiled.complete_upload(bucket, "x.mp4", upload_id, parts)
    assert [act for _, act in proxy.spoiled] == acts
    assert info.size_bytes == 5
    assert spoiled.get(bucket, "x.mp4", max_bytes=5) == b"media"


def test_an_upload_that_is_gone_with_another_object_there(
    spoiled: S3Store, bucket: str, proxy: S3Proxy
) -> None:
    spoiled.put(bucket, "x.mp4", b"other", "video/mp4")  # of the same size, but not of parts
    upload_id = spoiled.create_upload(bucket, "x.mp4", "video/mp4")
    parts = [spoiled.put_part(bucket, "x.mp4", upload_id, 1, b"media")]
    proxy.script(Rule(act=NO_UPLOAD, call="^POST"))
    with pytest.raises(ObjectMissing):
        spoiled.complete_upload(bucket, "x.mp4", upload_id, parts)


def test_the_size_is_checked(spoiled: S3Store, bucket: str, proxy: S3Proxy) -> None:
    upload_id = spoiled.create_upload(bucket, "x.mp4", "video/mp4")
    parts = [spoiled.put_part(bucket, "x.mp4", upload_id, 1, b"media")]
    proxy.script(Rule(act=Length(4), call="^HEAD"))
    with pytest.raises(StoreError, match="4 bytes where its parts have 5"):
        spoiled.complete_upload(bucket, "x.mp4", upload_id, parts)


def test_parts_of_more_than_a_page(s3: S3, bucket: str) -> None:
    objects = connect(s3)
    upload_id = objects.create_upload(bucket, "many", "video/mp4")
    numbers = range(1, 1003)  # a page has 1000

    def put(number: int) -> None:
        objects.put_part(bucket, "many", upload_id, number, b"p")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, numbers))
    listed = objects.parts(bucket, "many", upload_id)
    assert [part.number for part in listed] == list(numbers)
    objects.abort_upload(bucket, "many", upload_id)


# --- a server that goes away ------------------------------------------------------------------


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{taken.getsockname()[1]}"
        objects = S3Store(endpoint, "access", "s3cr3t-key", secure=False)
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="Connection refused") as caught:
            objects.get("recordings", "x.mp4", max_bytes=1)
    assert time.monotonic() - began < 5
    assert f"{endpoint}, recordings/x.mp4" in caught.value.message
    assert "MINIO_ENDPOINT" in caught.value.remedy
    assert "s3cr3t" not in str(caught.value)


def test_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"127.0.0.1:{silent.getsockname()[1]}"
        objects = S3Store(endpoint, "access", "secret-key", secure=False, timeout_s=0.3, attempts=2)
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            objects.check_bucket("recordings")
        assert time.monotonic() - began < 2


def test_tls_where_the_server_has_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def speak() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.close()

        thread = threading.Thread(target=speak)
        thread.start()
        endpoint = f"127.0.0.1:{server.getsockname()[1]}"
        objects = S3Store(endpoint, "access", "secret-key", secure=True, attempts=2)
        with pytest.raises(StoreUnavailable, match="MINIO_USE_SSL"):
            objects.check_bucket("recordings")
        thread.join()


def test_a_server_that_was_restarted(tmp_path: Path) -> None:
    server = S3Server(tmp_path / "s3", tmp_path, "access", "secret-key")
    server.start()
    try:
        objects = S3Store(
            server.endpoint, "access", "secret-key", secure=False, timeout_s=5, attempts=2
        )
        objects.ensure_bucket("recordings")
        upload_id = objects.create_upload("recordings", "x", "video/mp4")
        first = objects.put_part("recordings", "x", upload_id, 1, bytes(5 << 20))
        url = objects.presign_put_part("recordings", "x", upload_id, 2, expires_s=60)
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(StoreUnavailable):
            objects.stat("recordings", "x")
        with pytest.raises(StoreUnavailable):
            store(url, b"tail", limits=LIMITS)
        patient = S3Store(
            server.endpoint, "access", "secret-key", secure=False, attempts=1, patience_s=60
        )
        with ThreadPoolExecutor() as threads:
            signed = threads.submit(patient.presign_get, "recordings", "x", expires_s=60)
            listed = threads.submit(lambda: list(patient.list("recordings", "")))
            time.sleep(0.5)
            assert not signed.done()
            assert not listed.done()
            server.stop()
            server.start()
            assert signed.result(30)
            assert listed.result(30) == []
        assert objects.parts("recordings", "x", upload_id) == (first,)
        second = objects.put_part("recordings", "x", upload_id, 2, b"tail")
        assert store(url, b"tail", limits=LIMITS) == second.etag
        info = objects.complete_upload("recordings", "x", upload_id, [first, second])
        assert info.size_bytes == (5 << 20) + 4
    finally:
        server.stop()
