"""Fetching and storing against a server that follows a script, most of it malicious or broken."""

import datetime as dt
import gzip
import ipaddress
import os
import socket
import socketserver
import ssl
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pipeline.connections import tls_context
from pipeline.errors import (
    BucketMissing,
    MediaInvalid,
    ObjectMissing,
    SourceError,
    SourceForbidden,
    SourceMissing,
    SourceUnavailable,
    StoreDenied,
    StoreError,
    StoreUnavailable,
    Unsupported,
)
from pipeline.model import ByteRange
from pipeline.transfer import TransferLimits, fetch, store

LIMITS = TransferLimits(timeout_s=5, attempts=3, retry_delay_s=0.01, max_bytes=1_000_000)
ONCE = TransferLimits(timeout_s=5, attempts=1, retry_delay_s=0, max_bytes=1_000_000)
HASTY = TransferLimits(timeout_s=0.4, attempts=2, retry_delay_s=0.01, max_bytes=1_000_000)
SECRET = "X-Amz-Signature=s3cr3t"
DIGITS = b"0123456789"


class Request(NamedTuple):
    line: str
    headers: dict[str, str]
    body: bytes
    connection: int


Answer = bytes | Callable[[socket.socket], None]


class Server(socketserver.ThreadingTCPServer):
    """Gives the answers of ``script`` one by one, the last of them for ever."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Conversation)
        self.script: list[Answer] = []
        self.requests: list[Request] = []
        self.connections = 0
        self.reads_bodies = True
        self.tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        scheme = "https" if self.tls else "http"
        return f"{scheme}://127.0.0.1:{self.server_address[1]}/a/seg.ts?{SECRET}"

    def answers(self, *script: Answer) -> None:
        self.script = list(script)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what is tested."""


class Conversation(socketserver.BaseRequestHandler):
    server: Server

    def handle(self) -> None:
        self.server.connections += 1
        number = self.server.connections
        if self.server.tls:
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        incoming = self.request.makefile("rb")
        while line := incoming.readline().decode().strip():
            headers = {}
            while header := incoming.readline().decode().strip():
                name, _, value = header.partition(":")
                headers[name.lower()] = value.strip()
            size = int(headers.get("content-length", 0)) if self.server.reads_bodies else 0
            self.server.requests.append(Request(line, headers, incoming.read(size), number))
            script = self.server.script
            answer = script.pop(0) if len(script) > 1 else script[0]
            if callable(answer):
                answer(self.request)
                return
            self.request.sendall(answer)

    def finish(self) -> None:
        self.request.close()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def reply(body: bytes = b"", status: int = 200, **headers: object) -> bytes:
    lines = [f"HTTP/1.1 {status} Word", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def partial(body: bytes, content_range: str | None) -> bytes:
    return reply(body, 206, **({"Content-Range": content_range} if content_range else {}))


def broken_off(body: bytes, claimed: int, status: int = 200, extra: str = "") -> Answer:
    head = f"HTTP/1.1 {status} Word\r\nContent-Length: {claimed}\r\n{extra}\r\n"
    return lambda connection: connection.sendall(head.encode() + body)


def until_close(body: bytes) -> Answer:
    return lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + body)


def chunked(body: str) -> bytes:
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body.encode()


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def hang(connection: socket.socket) -> None:
    time.sleep(2)


def trickle(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(40):
        connection.sendall(b"x")
        time.sleep(0.05)


def trickle_header(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    for _ in range(40):
        connection.sendall(b"X: y\r\n")
        time.sleep(0.05)


def endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")


def endless_until_close(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(DIGITS * 1000)


# --- fetch ------------------------------------------------------------------------------------


def test_connections_are_kept(server: Server) -> None:
    server.answers(reply(DIGITS))
    for _ in range(3):
        assert fetch(server.url, byte_range=None, limits=ONCE) == DIGITS
    assert server.connections == 1
    assert server.requests[0].line == f"GET /a/seg.ts?{SECRET} HTTP/1.1"
    assert server.requests[0].headers["host"] == f"127.0.0.1:{server.server_address[1]}"
    assert server.requests[0].headers["accept-encoding"] == "identity"


def test_a_kept_connection_that_the_server_closed_is_replaced(server: Server) -> None:
    server.answers(lambda connection: connection.sendall(reply(DIGITS)))  # and then it hangs up
    assert fetch(server.url, byte_range=None, limits=ONCE) == DIGITS
    time.sleep(0.05)
    assert fetch(server.url, byte_range=None, limits=ONCE) == DIGITS
    assert server.connections == 2


def test_threads_use_connections_of_their_own(server: Server) -> None:
    server.answers(reply(os.urandom(500_000)))
    found: list[bytes] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(fetch(server.url, byte_range=None, limits=ONCE))
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


@pytest.mark.parametrize(
    "answer",
    [
        chunked("4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n"),
        until_close(DIGITS),
        reply(DIGITS, Content_Encoding="aws-chunked"),
        reply(gzip.compress(DIGITS), Content_Encoding="gzip"),
        reply(gzip.compress(DIGITS[:4]) + gzip.compress(DIGITS[4:]), Content_Encoding="x-gzip"),
        reply(zlib.compress(DIGITS), Content_Encoding="deflate"),
    ],
    ids=["chunked", "until close", "aws-chunked", "gzip", "two gzip members", "deflate"],
)
def test_bodies_of_every_form(server: Server, answer: Answer) -> None:
    server.answers(answer)
    assert fetch(server.url, byte_range=None, limits=ONCE) == DIGITS


@pytest.mark.parametrize(
    "first",
    [
        broken_off(b"0123", 10),
        chunked("4\r\n0123\r\nzz\r\n\r\n"),
        broken_off(b"", 0, extra="Transfer-Encoding: chunked\r\n"),
        reset,
        b"nonsense\r\n\r\n",
        reply(b"try later", 503),
        reply(b"slow down", 429),
        reply(b"not yet", 404),
        reply(b"gone", 410),
        reply(b"not so far yet", 416),
    ],
    ids=["short", "bad chunk", "no chunk", "reset", "nonsense", "503", "429", "404", "410", "416"],
)
def test_what_may_pass_is_tried_again(server: Server, first: Answer) -> None:
    server.answers(first, reply(DIGITS))
    assert fetch(server.url, byte_range=None, limits=LIMITS) == DIGITS
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (broken_off(b"0123", 10), SourceUnavailable),
        (reset, SourceUnavailable),
        (reply(b"", 500), SourceUnavailable),
        (reply(b"", 404), SourceMissing),
    ],
    ids=["short", "reset", "500", "404"],
)
def test_attempts_are_bounded(server: Server, answer: Answer, expected: type[SourceError]) -> None:
    server.answers(answer)
    with pytest.raises(expected, match=r"/a/seg\.ts") as caught:
        fetch(server.url, byte_range=None, limits=LIMITS)
    assert len(server.requests) == LIMITS.attempts
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (reply(b"", 403), SourceForbidden),
        (reply(b"", 401), SourceForbidden),
        (reply(b"", 400), SourceForbidden),
        (reply(b""), MediaInvalid),
        (reply(b"", 204), SourceUnavailable),
        (reply(DIGITS, Content_Encoding="br"), Unsupported),
        (reply(DIGITS, Content_Encoding="gzip"), MediaInvalid),
        (reply(gzip.compress(DIGITS)[:-3], Content_Encoding="gzip"), MediaInvalid),
        (reply(gzip.compress(bytes(50_000_000)), Content_Encoding="gzip"), MediaInvalid),
        (partial(DIGITS, "bytes 0-9/10"), MediaInvalid),
        (reply(bytes(1_000_001)), MediaInvalid),
    ],
    ids=["403", "401", "400", "empty", "204", "brotli", "no gzip", "short gzip", "gzip bomb",
         "206", "too large"],
)  # fmt: skip
def test_refusals(server: Server, answer: Answer, expected: type[SourceError]) -> None:
    server.answers(answer)
    with pytest.raises(expected) as caught:
        fetch(server.url, byte_range=None, limits=LIMITS)
    assert "s3cr3t" not in str(caught.value)
    if not expected.retry:
        assert len(server.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(server: Server, status: int) -> None:
    server.answers(reply(b"", status, Location="/elsewhere"), reply(DIGITS))
    with pytest.raises(SourceForbidden, match="redirects"):
        fetch(server.url, byte_range=None, limits=LIMITS)
    assert len(server.requests) == 1


@pytest.mark.parametrize("answer", [endless, endless_until_close, broken_off(b"x", 10**12)])
def test_reading_stops_at_the_bound(server: Server, answer: Answer) -> None:
    server.answers(answer)
    with pytest.raises(MediaInvalid, match="limit of 1000000 bytes"):
        fetch(server.url, byte_range=None, limits=LIMITS)
    assert len(server.requests) == 1


def test_a_body_of_the_largest_size_is_taken(server: Server) -> None:
    server.answers(reply(bytes(1_000_000)))
    assert len(fetch(server.url, byte_range=None, limits=ONCE)) == 1_000_000


@pytest.mark.parametrize("answer", [hang, trickle, trickle_header])
def test_slow_servers_do_not_hold_us(server: Server, answer: Answer) -> None:
    server.answers(answer)
    began = time.monotonic()
    with pytest.raises(SourceUnavailable, match="in time"):
        fetch(server.url, byte_range=None, limits=HASTY)
    assert time.monotonic() - began < 1.5
    assert len(server.requests) == HASTY.attempts


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/x?{SECRET}"
        with pytest.raises(SourceUnavailable, match="Connection refused") as caught:
            fetch(url, byte_range=None, limits=LIMITS)
    assert "s3cr3t" not in str(caught.value)


RANGE = ByteRange(offset=3, length=4)


def test_a_range(server: Server) -> None:
    server.answers(partial(b"3456", "bytes 3-6/10"))
    assert fetch(server.url, byte_range=RANGE, limits=ONCE) == b"3456"
    assert server.requests[0].headers["range"] == "bytes=3-6"


@pytest.mark.parametrize(
    "answer",
    [reply(DIGITS), until_close(DIGITS), endless_until_close, broken_off(DIGITS, 10**12),
     reply(gzip.compress(DIGITS), Content_Encoding="gzip")],
    ids=["length", "until close", "endless", "huge", "gzip"],
)  # fmt: skip
def test_an_ignored_range_is_cut_out(server: Server, answer: Answer) -> None:
    server.answers(answer)
    assert fetch(server.url, byte_range=RANGE, limits=ONCE) == b"3456"


@pytest.mark.parametrize(
    "content_range",
    ["bytes 0-3/10", "bytes 3-7/10", "bytes 4-6/10", "bytes */10", "3-6", None],
)
def test_another_range_is_refused(server: Server, content_range: str | None) -> None:
    server.answers(partial(b"3456", content_range))
    with pytest.raises(MediaInvalid, match="another byte range"):
        fetch(server.url, byte_range=RANGE, limits=LIMITS)
    assert len(server.requests) == 1


def test_a_range_of_fewer_or_more_bytes_than_told(server: Server) -> None:
    server.answers(partial(b"345", "bytes 3-6/10"), partial(b"3456", "bytes 3-6/10"))
    assert fetch(server.url, byte_range=RANGE, limits=LIMITS) == b"3456"
    server.answers(partial(b"34567", "bytes 3-6/10"))
    with pytest.raises(SourceUnavailable):
        fetch(server.url, byte_range=RANGE, limits=ONCE)
    server.answers(reply(gzip.compress(b"x"), 206, Content_Range="bytes 3-6/10",
                         Content_Encoding="gzip"))  # fmt: skip
    with pytest.raises(MediaInvalid, match="compressed"):
        fetch(server.url, byte_range=RANGE, limits=ONCE)


@pytest.mark.parametrize("answer", [partial(b"345", "bytes 3-5/6"), reply(b"012345")])
def test_a_resource_that_ends_inside_the_range(server: Server, answer: Answer) -> None:
    server.answers(answer)
    with pytest.raises(MediaInvalid, match="ends before"):
        fetch(server.url, byte_range=RANGE, limits=ONCE)


def test_a_range_beyond_the_bound(server: Server) -> None:
    server.answers(endless_until_close)
    with pytest.raises(MediaInvalid, match="asked for"):
        fetch(server.url, byte_range=ByteRange(offset=0, length=1_000_001), limits=LIMITS)
    assert server.requests == []
    with pytest.raises(MediaInvalid, match="larger"):
        fetch(server.url, byte_range=ByteRange(offset=999_999, length=10), limits=LIMITS)


def test_urls_are_sent_encoded(server: Server) -> None:
    server.answers(reply(DIGITS))
    base = server.url.partition("/a/")[0]
    fetch(f"{base}/ä b/%20c.ts?x=ü y#part", byte_range=None, limits=ONCE)
    assert server.requests[-1].line == "GET /%C3%A4%20b/%20c.ts?x=%C3%BC%20y HTTP/1.1"
    fetch(f"{base}/x\r\nX-Evil: 1", byte_range=None, limits=ONCE)
    assert "x-evil" not in server.requests[-1].headers


@pytest.mark.parametrize(
    "url",
    ["ftp://host/x", "/etc/passwd", "gopher://x", "http://", "http:///x", "http://host:99999/",
     "http://[::1/x", "memory://none/b/k", "data:,x", "x", ""],
)  # fmt: skip
def test_urls_that_cannot_be_read(url: str) -> None:
    with pytest.raises((SourceForbidden, Unsupported)):
        fetch(url, byte_range=None, limits=LIMITS)


def test_passwords_in_urls_are_not_shown(server: Server) -> None:
    server.answers(reply(b"", 404))
    url = server.url.replace("http://", "http://user:hunter2@")
    with pytest.raises(SourceMissing) as caught:
        fetch(url, byte_range=None, limits=ONCE)
    assert "hunter2" not in str(caught.value)


# --- files ------------------------------------------------------------------------------------


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "a b#?.ts"
    path.write_bytes(DIGITS)
    assert fetch(path.as_uri(), byte_range=None, limits=ONCE) == DIGITS
    assert fetch(path.as_uri(), byte_range=RANGE, limits=ONCE) == b"3456"
    with pytest.raises(MediaInvalid, match="ends before"):
        fetch(path.as_uri(), byte_range=ByteRange(offset=8, length=4), limits=ONCE)
    small = TransferLimits(timeout_s=1, attempts=1, retry_delay_s=0, max_bytes=9)
    with pytest.raises(MediaInvalid, match="limit of 9"):
        fetch(path.as_uri(), byte_range=None, limits=small)


def test_files_that_are_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    cases = {"pipe": SourceForbidden, "": SourceForbidden, "no": SourceMissing,
             "empty/x": SourceMissing, "empty": MediaInvalid}  # fmt: skip
    for name, expected in cases.items():
        with pytest.raises(expected):
            fetch((tmp_path / name).as_uri(), byte_range=None, limits=LIMITS)


# --- TLS --------------------------------------------------------------------------------------


def certificate(folder: Path, address: str) -> Path:
    """A self-signed one for an IP address, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "vodray test")])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "tls.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    def trust(path: Path) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        tls_context.cache_clear()

    yield trust
    tls_context.cache_clear()


def serve_tls(server: Server, path: Path) -> None:
    server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.tls.load_cert_chain(path)


def test_tls(server: Server, tmp_path: Path, trusted: Callable[[Path], None]) -> None:
    path = certificate(tmp_path, "127.0.0.1")
    serve_tls(server, path)
    trusted(path)
    server.answers(reply(DIGITS))
    assert fetch(server.url, byte_range=None, limits=ONCE) == DIGITS
    server.answers(reply(b"", ETag='"e"'))
    body = os.urandom(3_000_000)
    assert store(server.url, [body[:1], body[1:]], limits=ONCE) == "e"
    assert server.requests[-1].body == body
    assert server.connections == 1
    server.answers(trickle)
    began = time.monotonic()
    with pytest.raises(SourceUnavailable, match="in time"):
        fetch(server.url, byte_range=None, limits=HASTY)
    assert time.monotonic() - began < 1.5


@pytest.mark.parametrize("address", ["127.0.0.1", "192.0.2.1"])
def test_certificates_that_prove_nothing(
    server: Server, tmp_path: Path, trusted: Callable[[Path], None], address: str
) -> None:
    path = certificate(tmp_path, address)
    serve_tls(server, path)
    if address == "192.0.2.1":
        trusted(path)  # but it is another host's
    server.answers(reply(DIGITS))
    with pytest.raises(SourceUnavailable):
        fetch(server.url, byte_range=None, limits=ONCE)
    assert server.requests == []


# --- store ------------------------------------------------------------------------------------


def s3_error(status: int, code: str) -> bytes:
    return reply(f"<Error><Code>{code}</Code></Error>".encode(), status)


DONE = reply(b"", ETag='"0cc175b9"')


def test_pieces_arrive_in_order(server: Server) -> None:
    server.answers(DONE)
    pieces = [b"01", memoryview(b"x23x")[1:3], bytearray(b""), bytearray(b"456789")]
    assert store(server.url, pieces, limits=ONCE) == "0cc175b9"
    (request,) = server.requests
    assert request.line == f"PUT /a/seg.ts?{SECRET} HTTP/1.1"
    assert request.body == DIGITS
    assert request.headers["content-length"] == "10"
    assert "transfer-encoding" not in request.headers


@pytest.mark.parametrize("data", [DIGITS, memoryview(DIGITS), b""])
def test_one_buffer(server: Server, data: bytes) -> None:
    server.answers(DONE)
    assert store(server.url, data, limits=ONCE) == "0cc175b9"
    assert server.requests[0].body == bytes(data)
    assert server.requests[0].headers["content-length"] == str(len(data))


@pytest.mark.parametrize(
    "first",
    [reset, s3_error(503, "SlowDown"), s3_error(400, "RequestTimeout"), reply(b"", 429),
     s3_error(500, "InternalError"), reply(b"")],
    ids=["reset", "503", "RequestTimeout", "429", "500", "no etag"],
)  # fmt: skip
def test_storing_is_tried_again(server: Server, first: Answer) -> None:
    server.answers(first, DONE)
    assert store(server.url, [b"0123", b"456789"], limits=LIMITS) == "0cc175b9"
    assert [request.body for request in server.requests] == [DIGITS, DIGITS]


@pytest.mark.parametrize(
    ("answer", "expected", "requests"),
    [
        (s3_error(403, "SignatureDoesNotMatch"), StoreDenied, 1),
        (s3_error(404, "NoSuchUpload"), ObjectMissing, 1),
        (s3_error(404, "NoSuchBucket"), BucketMissing, 1),
        (s3_error(400, "EntityTooLarge"), StoreError, 1),
        (reply(b"", 307, Location="/else"), StoreError, 1),
        (s3_error(503, "SlowDown"), StoreUnavailable, 3),
        (reset, StoreUnavailable, 3),
    ],
)
def test_storing_that_fails(
    server: Server, answer: Answer, expected: type[StoreError], requests: int
) -> None:
    server.answers(answer)
    with pytest.raises(expected, match=r"/a/seg\.ts") as caught:
        store(server.url, DIGITS, limits=LIMITS)
    assert type(caught.value) is expected
    assert len(server.requests) == requests
    assert "s3cr3t" not in str(caught.value)


def test_a_refusal_before_the_body_is_read_is_understood(server: Server) -> None:
    server.reads_bodies = False

    def refuse(connection: socket.socket) -> None:
        connection.sendall(s3_error(403, "AccessDenied"))
        connection.shutdown(socket.SHUT_WR)
        time.sleep(0.2)
        connection.shutdown(socket.SHUT_RD)
        connection.recv(1 << 20)

    server.answers(refuse)
    with pytest.raises(StoreDenied):
        store(server.url, bytes(200_000), limits=ONCE)


def test_a_server_that_takes_nothing_does_not_hold_us(server: Server) -> None:
    server.reads_bodies = False
    server.answers(hang)
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="in time"):
        store(server.url, bytes(50_000_000), limits=HASTY)
    assert time.monotonic() - began < 1.5


def test_urls_that_cannot_be_written() -> None:
    for url in ("ftp://host/x", "http://", "x"):
        with pytest.raises(StoreError):
            store(url, DIGITS, limits=LIMITS)
