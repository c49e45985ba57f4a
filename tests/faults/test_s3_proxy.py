"""The proxy passes S3 on as it is, and spoils exactly what its rules say."""

import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from pipeline.stores.objects_s3 import S3Store
from tests.conftest import S3
from tests.faults.acts import (
    INTERNAL,
    NO_KEY,
    SLOW_DOWN,
    Act,
    Chance,
    Cut,
    Delay,
    Hang,
    Reset,
    Rule,
    Slow,
    Truncate,
)
from tests.faults.s3_proxy import S3Proxy

BODY = bytes(range(256)) * 800


@pytest.fixture(scope="module")
def proxy(s3: S3) -> Iterator[S3Proxy]:
    with S3Proxy(s3.endpoint) as proxy:
        yield proxy


@pytest.fixture
def store(s3: S3, proxy: S3Proxy) -> S3Store:
    proxy.script()
    return S3Store(proxy.address, s3.access_key, s3.secret_key, secure=False, timeout_s=5)


@pytest.fixture
def bucket(store: S3Store, new_bucket_name: Callable[[], str]) -> str:
    name = new_bucket_name()
    store.ensure_bucket(name)
    store.put(name, "a/x", BODY, "text/plain")
    return name


@pytest.fixture
def url(store: S3Store, bucket: str) -> str:
    return store.presign_get(bucket, "a/x", expires_s=60)


def test_signed_requests_go_through(store: S3Store, bucket: str, url: str, proxy: S3Proxy) -> None:
    assert store.get(bucket, "a/x", max_bytes=len(BODY)) == BODY
    with httpx.Client() as http:
        assert http.get(url).content == BODY
        part = http.get(url, headers={"Range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, BODY[10:20])
        put = store.presign_put(bucket, "b", expires_s=60)
        assert http.put(put, content=BODY).status_code == 200
    upload = store.create_upload(bucket, "c", "video/mp4")
    parts = [store.put_part(bucket, "c", upload, 1, BODY)]
    assert store.complete_upload(bucket, "c", upload, parts).size_bytes == len(BODY)
    assert sorted(found.key for found in store.list(bucket, "")) == ["a/x", "b", "c"]
    assert proxy.spoiled == []


def test_one_connection_serves_many_requests(url: str, proxy: S3Proxy) -> None:
    before = proxy.connections
    with httpx.Client() as http:
        proxy.script(Rule(act=SLOW_DOWN, first=2), Rule(act=Truncate(), first=4))
        told = [http.get(url) for _ in range(5)]
    assert [answer.status_code for answer in told] == [200, 503, 200, 200, 200]
    assert [len(answer.content) for answer in told[2:]] == [len(BODY), len(BODY) // 2, len(BODY)]
    assert proxy.connections == before + 1


@pytest.mark.parametrize(
    ("act", "error"),
    [
        (Reset(), httpx.NetworkError),
        (Reset(after=True), httpx.NetworkError),
        (Cut(0.3), httpx.RemoteProtocolError),
        (Cut(0.3, reset=True), httpx.NetworkError),
        (Hang(0.2), httpx.NetworkError),
    ],
    ids=str,
)
def test_what_breaks_a_connection(
    url: str, proxy: S3Proxy, act: Act, error: type[Exception]
) -> None:
    proxy.script(Rule(act=act, call=r"^GET /[^/]+/a/x"))
    with pytest.raises(error):
        httpx.get(url)
    assert httpx.get(url).content == BODY
    assert [act for _, act in proxy.spoiled] == [act]


def test_whether_the_server_has_done_it(store: S3Store, bucket: str, proxy: S3Proxy) -> None:
    for name, after in (("lost", False), ("done", True)):
        proxy.script(Rule(act=Reset(after=after), call="^PUT"))
        # Whoever still sends when the reset comes reads a plain end after it.
        with pytest.raises((httpx.NetworkError, httpx.RemoteProtocolError)):
            httpx.put(store.presign_put(bucket, name, expires_s=60), content=BODY)
    assert [found.key for found in store.list(bucket, "")] == ["a/x", "done"]


def test_what_takes_time(url: str, proxy: S3Proxy) -> None:
    proxy.script(Rule(act=Delay(0.4)), Rule(act=Slow(len(BODY) / 0.4), first=2))
    for _ in range(2):
        began = time.monotonic()
        assert httpx.get(url).content == BODY
        assert 0.35 < time.monotonic() - began < 3


def test_errors_are_told_as_s3_tells_them(url: str, proxy: S3Proxy) -> None:
    proxy.script(Rule(act=NO_KEY), Rule(act=INTERNAL, first=2))
    missing, failed = httpx.get(url), httpx.get(url)
    assert (missing.status_code, failed.status_code) == (404, 500)
    assert "<Code>NoSuchKey</Code>" in missing.text
    assert httpx.get(url).status_code == 200


def test_rules_count_what_they_are_for() -> None:
    rule = Rule(act=Reset(), call="^PUT .*/b", first=2, count=2)
    calls = ["PUT /x/b", "GET /x/b", "PUT /x/b?partNumber=1", "PUT /x/a", "PUT /b/b", "PUT /x/b"]
    assert [rule.choose(call) is not None for call in calls] == [
        False,
        False,
        True,
        False,
        True,
        False,
    ]
    assert rule.used == 2
    for_ever = Rule(act=Reset(), count=None)
    assert all(for_ever.choose("GET /") for _ in range(100))


def test_chance_repeats_itself_in_any_order() -> None:
    recording = "e410066c-8d50-4e0f-965f-452af1814ffa"
    calls = [f"PUT /r/.vodray/{recording}/{n}?uploadId=U1&X-Amz-Date=1" for n in range(40)] * 3

    def run(chance: Chance, calls: list[str]) -> list[tuple[str, Act]]:
        found = [(call, act) for call in calls if (act := chance.choose(call))]
        return sorted(found, key=str)

    def chance(seed: int = 1) -> Chance:
        return Chance(seed=seed, probability=0.3, call="^PUT")

    first = run(chance(), calls)
    assert 20 < len(first) < 55
    assert run(chance(), calls[::-1]) == first
    assert run(chance(2), calls) != first
    other = [call.replace("e410066c", "00000000").replace("U1", "V2") for call in calls]
    assert [act for _, act in run(chance(), other)] == [act for _, act in first]
    assert run(chance(), ["GET /"] * 100) == []


def test_chance_lets_through_whoever_persists() -> None:
    chance = Chance(seed=1, probability=1.0, in_a_row=2)
    assert [chance.choose("GET /") is None for _ in range(7)] == [False, False, True] * 2 + [False]
