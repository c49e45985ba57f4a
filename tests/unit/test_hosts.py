"""How hosts are compared, and where no name may lead."""

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import SourceForbidden, StoreError
from pipeline.hosts import HostAndPort, canonical, may_lead_to
from pipeline.transfer import TransferLimits, fetch, store

LIMITS = TransferLimits(timeout_s=5.0, attempts=1, retry_delay_s=0.0, max_bytes=2**20)
NOWHERE = [
    "169.254.169.254",
    "169.254.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "::169.254.169.254",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "100.100.100.200",
    "0.0.0.0",
    "::",
    "224.0.0.1",
    "ff02::1",
]
SOMEWHERE = ["93.184.216.34", "10.0.0.7", "127.0.0.1", "::1", "2606:2800::1", "64:ff9b::5db8:d822"]


@pytest.mark.parametrize("address", NOWHERE)
def test_no_name_leads_to(address: str) -> None:
    assert not may_lead_to("cdn.example", address)


@pytest.mark.parametrize("address", SOMEWHERE)
def test_a_name_may_lead_to(address: str) -> None:
    assert may_lead_to("cdn.example", address)


@pytest.mark.parametrize("address", NOWHERE)
def test_an_address_that_is_written_out_was_meant(address: str) -> None:
    assert may_lead_to(address, address)


@pytest.mark.parametrize(
    "host", ["2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518"]
)
def test_other_ways_to_write_an_address_do_not_count_as_written_out(host: str) -> None:
    assert not may_lead_to(host, "169.254.169.254")


@pytest.mark.parametrize(
    ("host", "form"),
    [
        ("CDN.Example", "cdn.example"),
        ("cdn.example.", "cdn.example"),
        ("b\u00fccher.example", "xn--bcher-kva.example"),
        ("B\u00dcCHER.example", "xn--bcher-kva.example"),
        ("\uff43dn.example", "cdn.example"),
        ("cdn\u3002example", "cdn.example"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("127.0.0.1", "127.0.0.1"),
        ("a_b.example", "a_b.example"),
    ],
)
def test_hosts_have_one_form(host: str, form: str) -> None:
    assert canonical(host) == form


@pytest.mark.parametrize("host", ["", ".", "a..b", "x" * 64, "\u2024"])
def test_what_is_no_host(host: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        canonical(host)


@given(st.text(max_size=30))
def test_any_text_is_a_host_or_refused(text: str) -> None:
    try:
        form = canonical(text)
    except ValueError:
        return
    assert canonical(form) == form


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("cdn.example", ("cdn.example", None)),
        ("CDN.example:8080", ("cdn.example", 8080)),
        ("[::1]", ("::1", None)),
        ("[::1]:80", ("::1", 80)),
    ],
)
def test_what_is_allowed_as_it_is_written(text: str, found: tuple[str, int | None]) -> None:
    assert HostAndPort.parse(text) == found


@pytest.mark.parametrize(
    "text", ["", "http://a", "a/b", "user@a", "a:b", "a:99999", "[a:80]", "a?b"]
)
def test_what_names_no_host(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        HostAndPort.parse(text)


# --- when a connection is made ----------------------------------------------------------------

Lookup = Callable[..., list[Any]]


def answers(*addresses: str) -> Lookup:
    def look_up(_host: str, port: int, **_: Any) -> list[Any]:
        return [
            (
                socket.AF_INET6 if ":" in address else socket.AF_INET,
                socket.SOCK_STREAM,
                0,
                "",
                (address, port),
            )
            for address in addresses
        ]

    return look_up


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "0.0.0.0"])
def test_a_name_that_resolves_to_such_an_address_is_not_read(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answers(address))
    with pytest.raises(SourceForbidden, match="leads to"):
        fetch("http://cdn.example/a.ts", byte_range=None, limits=LIMITS)
    with pytest.raises(StoreError, match="leads to"):
        store("http://cdn.example/a.ts", b"x", limits=LIMITS)


def test_what_was_checked_is_what_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that gives a harmless address among others, and another one when asked anew."""
    asked: list[str] = []

    def look_up(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        addresses = ["169.254.169.254", "127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]
        return answers(*addresses)(host, port)

    def serve(server: socket.socket) -> None:
        with server.accept()[0] as connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwell")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        url = f"http://cdn.example:{server.getsockname()[1]}/a.ts"
        assert fetch(url, byte_range=None, limits=LIMITS) == b"well"
        thread.join(5)
    assert asked == ["cdn.example"]
