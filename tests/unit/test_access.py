"""Who is let in: tokens of all kinds that are no good, other people's recordings, limits."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from pydantic import SecretStr

from pipeline.model import EndReason, EventKind, Origin, StreamEvent
from pipeline.settings import Settings, load_settings
from serve_app.access import guard, key_set, limits
from serve_app.access.caller import Scope
from serve_app.access.tokens import mint
from tests.json_server import json_server
from tests.unit.api_server import Product, in_process

SECRET = "a secret that is long enough for HS256"
OTHER = "another secret, just as long as the first"


def settings(**more: Any) -> Settings:
    return Settings(_env_file=None, auth_secret=SecretStr(SECRET), **more)


def token(*scopes: str, user: str | None = "u1", days: float = 1, **more: Any) -> str:
    return mint(settings(**more), map(Scope, scopes), user, days)


def bearer(value: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {value}"}


@asynccontextmanager
async def guarded(**more: Any) -> AsyncIterator[tuple[Product, httpx.AsyncClient]]:
    product = Product(settings={"auth_secret": SecretStr(SECRET), **more})
    async with in_process(product) as client:
        yield product, client


async def status(client: httpx.AsyncClient, value: str | None, path: str = "/recordings") -> Any:
    answer = await client.get(path, headers=bearer(value) if value is not None else {})
    return answer.status_code, answer.json().get("error")


# --- tokens ---------------------------------------------------------------------------------------


async def test_a_good_token_reads() -> None:
    async with guarded() as (_, client):
        assert await status(client, token("read")) == (200, None)
        assert await status(client, token("admin")) == (200, None)
        assert await status(client, None) == (401, "Missing bearer token")
        answer = await client.get("/recordings")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_scope_that_is_missing() -> None:
    async with guarded() as (product, client):
        recording = await product.record("s")
        assert await status(client, token("write")) == (403, "The token lacks the scope read")
        path = f"/recordings/{recording.id}"
        answer = await client.delete(path, headers=bearer(token("read")))
        assert answer.status_code == 403
        assert (await product.catalog.get(recording.id)).deleted_at is None


def unsigned(claims: dict[str, Any], header: dict[str, Any]) -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part(header)}.{part(claims)}."


def claims(**more: Any) -> dict[str, Any]:
    return {"scope": "read", "sub": "u1", "exp": int(time.time()) + 86_400, **more}


NO_GOOD = {
    "nonsense": "abc",
    "empty": " ",
    "long": "a." * 5000,
    "unsigned": unsigned(claims(), {"alg": "none", "typ": "JWT"}),
    "unsigned, otherwise spelt": unsigned(claims(), {"alg": "nOnE"}),
    "another secret": jwt.encode(claims(), OTHER, algorithm="HS256"),
    "another algorithm": jwt.encode(claims(), SECRET * 2, algorithm="HS512"),
    "no expiry": jwt.encode({"scope": "read", "sub": "u1"}, SECRET, algorithm="HS256"),
    "expiry is no time": jwt.encode(claims(exp="soon"), SECRET, algorithm="HS256"),
    "not yet": jwt.encode(claims(nbf=int(time.time()) + 80_000), SECRET, algorithm="HS256"),
}


@pytest.mark.parametrize("name", NO_GOOD)
async def test_tokens_that_are_no_good(name: str) -> None:
    async with guarded() as (_, client):
        code, reason = await status(client, NO_GOOD[name])
        assert code == 401
        assert reason in ("Invalid token", "Missing bearer token")


async def test_an_expired_token() -> None:
    async with guarded() as (_, client):
        expired = token("read", days=-1)
        assert await status(client, expired) == (401, "The token has expired")


async def test_audience_and_issuer() -> None:
    more = {"auth_audience": "vodray", "auth_issuer": "https://auth.example"}
    async with guarded(**more) as (_, client):
        assert await status(client, token("read", **more)) == (200, None)
        other = token("read", **{**more, "auth_audience": "mail"})
        assert await status(client, other) == (401, "The token is for another audience")
        for wrong in (token("read"), token("read", **{**more, "auth_issuer": "https://evil"})):
            assert (await status(client, wrong))[0] == 401


async def test_a_revoked_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_REVOKED_KEPT_S", 0.0)
    async with guarded() as (product, client):
        mine, other = token("read"), token("read")
        assert await status(client, mine) == (200, None)
        answer = await client.post("/tokens/revoke", json={"token": mine})
        assert answer.status_code == 204
        assert await status(client, mine) == (401, "The token is revoked")
        assert await status(client, other) == (200, None)
        again = await client.post("/tokens/revoke", json={"token": mine})
        assert again.status_code == 401
        assert [change.action for change in product.platform.changes] == ["token.revoke"]
        # It is kept nowhere as it is.
        assert mine not in str(vars(product.platform))


async def test_tries_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_BAD_BURST", 3)
    async with guarded() as (_, client):
        found = [(await status(client, "no token"))[0] for _ in range(5)]
        assert found == [401, 401, 401, 429, 429]
        answer = await client.get("/recordings", headers=bearer(token("read")))
        assert answer.status_code == 429
        assert int(answer.headers["Retry-After"]) >= 1
        assert (await client.get("/health")).status_code == 200


# --- the auth service's keys ----------------------------------------------------------------------

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
RSA_NEXT = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


def published(key: Any, key_id: str, algorithm: str) -> dict[str, Any]:
    kinds = {"RS256": jwt.algorithms.RSAAlgorithm, "ES256": jwt.algorithms.ECAlgorithm}
    kind = kinds.get(algorithm, jwt.algorithms.OKPAlgorithm)
    return {**kind.to_jwk(key.public_key(), as_dict=True), "kid": key_id, "use": "sig"}


@pytest.fixture
def served_keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, dict[str, Any]]]:
    monkeypatch.setattr(key_set, "_ASK_AGAIN_S", 0.0)
    document = {
        "keys": [
            published(RSA, "r", "RS256"),
            published(EC, "e", "ES256"),
            published(ED, "d", "EdDSA"),
            {"kty": "oct", "kid": "o", "k": "c2VjcmV0"},
        ]
    }
    with json_server(document) as url:
        yield url, document


def signed(key: Any, key_id: str | None, algorithm: str, **more: Any) -> str:
    headers = {} if key_id is None else {"kid": key_id}
    return jwt.encode(claims(**more), key, algorithm=algorithm, headers=headers)


async def test_the_auth_service_s_tokens(served_keys: tuple[str, dict[str, Any]]) -> None:
    product = Product(settings={"auth_jwks_url": served_keys[0]})
    async with in_process(product) as client:
        for good in (
            signed(RSA, "r", "RS256"),
            signed(RSA, None, "RS256"),
            signed(EC, "e", "ES256"),
            signed(ED, "d", "EdDSA"),
            signed(RSA, "r", "RS256", scope=["read"]),
        ):
            assert await status(client, good) == (200, None)
        for wrong in (
            signed(RSA_NEXT, "r", "RS256"),
            signed(RSA, "e", "RS256"),
            signed(RSA, "unknown", "RS256"),
            signed(RSA, "r", "RS512"),
            jwt.encode(claims(), SECRET, algorithm="HS256"),
        ):
            assert await status(client, wrong) == (401, "Invalid token")
        nobody = signed(RSA, "r", "RS256", sub="")
        assert await status(client, nobody) == (401, "The token names no user")


async def test_a_public_key_is_no_secret(served_keys: tuple[str, dict[str, Any]]) -> None:
    """HS256 over what anybody can read must not be taken for a signature with the private key."""
    pem = RSA.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    head = {"alg": "HS256", "typ": "JWT", "kid": "r"}
    body = unsigned(claims(), head).rstrip(".")
    mac = hmac.new(pem, body.encode(), hashlib.sha256).digest()
    forged = f"{body}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"
    for both in ({}, {"auth_secret": SecretStr(SECRET)}):
        product = Product(settings={"auth_jwks_url": served_keys[0], **both})
        async with in_process(product) as client:
            assert await status(client, forged) == (401, "Invalid token")


async def test_keys_change(served_keys: tuple[str, dict[str, Any]]) -> None:
    url, document = served_keys
    async with in_process(Product(settings={"auth_jwks_url": url})) as client:
        assert await status(client, signed(RSA, "r", "RS256")) == (200, None)
        document["keys"] = [published(RSA_NEXT, "next", "RS256")]
        assert await status(client, signed(RSA_NEXT, "next", "RS256")) == (200, None)
        assert await status(client, signed(RSA, "r", "RS256")) == (401, "Invalid token")


async def test_an_auth_service_that_is_away() -> None:
    async with in_process(Product(settings={"auth_jwks_url": "http://127.0.0.1:9/"})) as client:
        # Also while it is not asked again at once: no token is bad before keys are had.
        for _ in range(30):
            found = await status(client, signed(RSA, "r", "RS256"))
            assert found == (503, "Auth service unavailable")


# --- whose it is ----------------------------------------------------------------------------------


async def test_everybody_sees_their_own() -> None:
    async with guarded() as (product, client):
        recording = await product.record("s")
        path = f"/recordings/{recording.id}"
        mine, other = bearer(token("read", "write")), bearer(token("read", "write", user="u2"))
        everybody = bearer(token("admin", user=None))
        service = bearer(token("read", user=None))
        for headers, count in ((mine, 1), (other, 0), (everybody, 1), (service, 1)):
            page = (await client.get("/recordings", headers=headers)).json()
            assert len(page["recordings"]) == count
        hidden = (await client.get("/recordings?user_id=u1", headers=other)).json()
        assert hidden == {"recordings": []}
        for way in ("", "/report", "/url", "/stream", "/thumbnail", "/live.m3u8", "/events"):
            answer = await client.get(path + way, headers=other)
            assert (answer.status_code, answer.json()["error"]) == (404, "Recording not found")
        for verb in ("cancel", "retry"):
            answer = await client.post(f"{path}/{verb}", headers=other)
            assert answer.status_code == 404
        assert (await client.delete(path, headers=other)).status_code == 404
        assert (await client.patch(path, json={"title": "x"}, headers=other)).status_code == 404
        shown = (await client.get(path, headers=mine)).json()["recording"]
        assert shown["stream_key"] == "s"
        refused = await client.patch(path, json={"user_id": "u2"}, headers=mine)
        assert refused.status_code == 403
        given = await client.patch(path, json={"user_id": "u2"}, headers=everybody)
        assert given.json()["recording"]["user_id"] == "u2"
        assert (await client.get(path, headers=mine)).status_code == 404


async def test_without_access_control_there_is_no_stream_key() -> None:
    product = Product()
    recording = await product.record("s")
    async with in_process(product) as client:
        shown = (await client.get(f"/recording/{recording.id}")).json()["recording"]
    assert "stream_key" not in shown


# --- sessions -------------------------------------------------------------------------------------


async def test_a_session_keeps_the_token_in_a_cookie() -> None:
    async with guarded() as (product, client):
        recording = await product.record("s")
        assert (await client.get("/session")).json()["auth"] is True
        assert (await client.post("/session", json={"token": "no"})).status_code == 401
        answer = await client.post("/session", json={"token": token("read", "write")})
        assert answer.json()["user_id"] == "u1"
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert (await client.get("/recordings")).status_code == 200
        assert (await client.get("/session")).json()["scopes"] == ["read", "write"]
        path = f"/recordings/{recording.id}"
        elsewhere = {"Origin": "https://evil.example"}
        forged = await client.patch(path, json={"title": "x"}, headers=elsewhere)
        assert forged.status_code == 403
        here = {"Origin": "http://vodray"}
        assert (await client.patch(path, json={"title": "x"}, headers=here)).status_code == 200
        await client.delete("/session")
        assert (await client.get("/recordings")).status_code == 401


async def test_without_access_control_everybody_is_in() -> None:
    async with in_process(Product()) as client:
        assert (await client.get("/session")).json()["auth"] is False
        assert (await client.post("/session", json={"token": "x"})).json()["auth"] is False
        assert (await client.post("/tokens/revoke", json={"token": "x"})).status_code == 400


# --- limits, headers, audit -----------------------------------------------------------------------


async def test_an_address_that_calls_too_often() -> None:
    async with in_process(Product(settings={"rate_limit": 5})) as client:
        found = [(await client.get("/recordings")).status_code for _ in range(14)]
        assert found[:10] == [200] * 10
        assert found[-1] == 429
        assert (await client.get("/health")).status_code == 200


def test_a_bucket_fills_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(limits.time, "monotonic", lambda: now[0])
    limiter = limits.Limiter(per_s=2, burst=2)
    for _ in range(2):
        assert limiter.wait_s("a") == 0
        limiter.take("a")
    assert limiter.wait_s("a") == pytest.approx(0.5)
    assert limiter.wait_s("b") == 0
    now[0] = 0.5
    assert limiter.wait_s("a") == 0


@pytest.mark.parametrize(
    ("client", "told", "address"),
    [
        ("10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "198.51.100.1, 203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "203.0.113.7, 10.1.2.3", "203.0.113.7"),
        ("192.0.2.1", "203.0.113.7", "192.0.2.1"),
        ("10.0.0.1", "", "10.0.0.1"),
    ],
)
def test_addresses_behind_proxies(client: str, told: str, address: str) -> None:
    scope = {"client": (client, 1), "headers": [(b"x-forwarded-for", told.encode())]}
    trusting = Settings(_env_file=None, trusted_proxies=("10.0.0.0/8",))
    assert limits.address_of(scope, trusting) == address
    assert limits.address_of(scope, Settings(_env_file=None)) == client


async def test_other_sites_and_browsers() -> None:
    allowed = "https://www.example.com"
    async with in_process(Product(settings={"cors_origins": (allowed,)})) as client:
        answer = await client.get("/recordings", headers={"Origin": allowed})
        assert answer.headers["access-control-allow-origin"] == allowed
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        answer = await client.get("/recordings", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in answer.headers
        asked = {"Origin": allowed, "Access-Control-Request-Method": "PATCH"}
        assert (await client.options("/recordings/x", headers=asked)).status_code == 200


async def test_every_change_leaves_a_line() -> None:
    async with guarded() as (product, client):
        recording = await product.record("s")
        headers = bearer(token("read", "write"))
        path = f"/recordings/{recording.id}"
        await client.patch(path, json={"title": "A talk"}, headers=headers)
        await client.post(f"{path}/cancel", headers=headers)
        await client.delete(path, headers=headers)
        lines = [(c.actor, c.action, c.subject) for c in product.platform.changes]
        assert lines == [
            ("u1", f"recording.{what}", str(recording.id))
            for what in ("change", "cancel", "delete")
        ]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("AUTH_SECRET", "short"),
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "https://a.example/path"),
        ("TRUSTED_PROXIES", "nginx"),
        ("RATE_LIMIT", "-1"),
    ],
)
def test_settings_that_cannot_be_meant(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(Exception, match=variable):
        load_settings()


# --- signed webhooks that are sent again ----------------------------------------------------------


async def test_a_signed_webhook_that_is_caught_does_nothing_more() -> None:
    product = Product(settings={"webhook_secret": SecretStr(SECRET)})
    started = datetime.now(UTC) - timedelta(hours=1)
    body = json.dumps(
        {"event": "stream.started", "stream_id": "s", "stream_key": "k",
         "timestamp": started.isoformat()}
    ).encode()  # fmt: skip
    headers = {"X-Signature": "sha256=" + hmac.new(SECRET.encode(), body, "sha256").hexdigest()}
    async with in_process(product) as client:
        for _ in range(3):
            answer = await client.post("/webhook/stream", content=body, headers=headers)
            assert answer.status_code == 200
    tasks = {(await product.catalog.accept(event)).task_id for event in product.events}
    assert len(tasks) == 1
    await asyncio.sleep(0)


async def unsigned_webhook(client: httpx.AsyncClient, value: str | None) -> tuple[int, Any]:
    body = {"event": "stream.started", "stream_id": "s", "stream_key": "k", "user_id": "other"}
    headers = bearer(value) if value else {}
    answer = await client.post("/webhook/stream", json=body, headers=headers)
    return answer.status_code, answer.json().get("error")


async def test_who_may_write_records_by_hand_and_owns_it() -> None:
    async with guarded(webhook_secret=SecretStr(SECRET)) as (product, client):
        assert (await unsigned_webhook(client, token("write")))[0] == 200
        assert (await unsigned_webhook(client, token("admin")))[0] == 200
        assert [event.user_id for event in product.events] == ["u1", "other"]


async def test_by_hand_nobody_touches_what_others_record() -> None:
    async with guarded(webhook_secret=SecretStr(SECRET)) as (product, client):
        for owner in ("other", None):
            started = StreamEvent(
                kind=EventKind.STARTED,
                stream_id=f"of {owner}",
                user_id=owner,
                occurred_at=datetime.now(UTC),
                origin=Origin.KAFKA,
            )
            recording_id = (await product.catalog.accept(started)).recording_id
            assert recording_id is not None
            before = await product.catalog.get(recording_id)
            for kind in ("stream.ended", "stream.started"):
                body = {"event": kind, "stream_id": f"of {owner}", "stream_key": "k"}
                answer = await client.post(
                    "/webhook/stream", json=body, headers=bearer(token("write"))
                )
                assert answer.status_code == 403
                assert answer.json() == {"error": "The stream is another user's, or nobody's"}
            assert await product.catalog.get(recording_id) == before
            end = {"event": "stream.ended", "stream_id": f"of {owner}", "stream_key": str(owner)}
            answer = await client.post("/webhook/stream", json=end, headers=bearer(token("admin")))
            assert answer.status_code == 200
            assert (await product.catalog.get(recording_id)).end_reason is EndReason.EVENT
        assert len(await product.catalog.list()) == 2


async def test_who_may_not_write_needs_a_signature() -> None:
    async with guarded(webhook_secret=SecretStr(SECRET)) as (product, client):
        assert await unsigned_webhook(client, None) == (401, "Missing X-Signature")
        assert await unsigned_webhook(client, "nonsense") == (401, "Invalid token")
        assert (await unsigned_webhook(client, token("read")))[0] == 403
        client.cookies.set("vodray_session", token("write"))
        body = {"event": "stream.started", "stream_id": "s", "stream_key": "k"}
        forged = await client.post(
            "/webhook/stream", json=body, headers={"Origin": "https://evil.example"}
        )
        assert forged.status_code == 403
        assert product.events == []
    open_to_all = Product(settings={"webhook_secret": SecretStr(SECRET)})
    async with in_process(open_to_all) as client:
        # Nobody shows who they are where there is no access control.
        assert await unsigned_webhook(client, token("admin")) == (401, "Missing X-Signature")


# --- an external VOD service ----------------------------------------------------------------------


async def test_an_external_vod_service_makes_the_video() -> None:
    told: list[tuple[str, dict[str, str], Any]] = []
    video_id = "7d0f5b0e-2f3b-4a55-9a0e-0d8a7c1c2b11"

    def answer(path: str, headers: dict[str, str], body: Any) -> tuple[int, Any]:
        told.append((path, headers, body))
        return 201, {"video": {"id": video_id, "title": body["title"], "own": 1}}

    with json_server(answer) as url:
        async with guarded(vod_service_url=f"{url}/vod/") as (product, client):
            recording = await product.complete(await product.record("s"))
            mine = token("read", "write")
            body = {"recording_id": str(recording.id), "title": "A talk", "visibility": "public"}
            made = await client.post("/import-recording", json=body, headers=bearer(mine))
            assert made.status_code == 201
            assert made.json() == {"video": {"id": video_id, "title": "A talk", "own": 1}}
            shown = await product.catalog.get(recording.id)
            assert str(shown.video_id) == video_id
    ((path, headers, sent),) = told
    assert (path, headers["authorization"]) == ("/vod/import-recording", f"Bearer {mine}")
    assert sent["file_path"] == "recordings/s.mp4"
    assert (sent["duration"], sent["file_size"], sent["user_id"]) == (1860, 524288000, "u1")


@pytest.mark.parametrize(
    ("status_code", "body", "answered", "reason"),
    [
        (403, {"error": "quota"}, 403, "The VOD service answers 403: quota"),
        (500, b"<html>", 502, "The VOD service answers 500: <html>"),
        (200, [1], 502, "The VOD service answers 200"),
        (201, {"video": 1}, 502, "The VOD service answers 201"),
    ],
)
async def test_what_an_external_vod_service_refuses(
    status_code: int, body: Any, answered: int, reason: str
) -> None:
    with json_server(lambda *_: (status_code, body)) as url:
        product = Product(settings={"vod_service_url": url})
        recording = await product.complete(await product.record("s"))
        async with in_process(product) as client:
            wanted = {"recording_id": str(recording.id), "title": "A talk"}
            found = await client.post("/import-recording", json=wanted)
    assert found.status_code == answered
    assert found.json()["error"].startswith(reason)
    assert (await product.catalog.get(recording.id)).video_id is None


async def test_an_external_vod_service_that_is_away() -> None:
    product = Product(settings={"vod_service_url": "http://127.0.0.1:9"})
    recording = await product.complete(await product.record("s"))
    async with in_process(product) as client:
        wanted = {"recording_id": str(recording.id), "title": "A talk"}
        found = await client.post("/import-recording", json=wanted)
    assert found.status_code == 502
    assert "does not answer" in found.json()["error"]
