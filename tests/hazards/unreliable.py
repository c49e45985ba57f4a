"""A web server that fails as it is told to, file by file, request by request."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET
from threading import Thread
from time import sleep
from typing import Any, TypeVar

from pipeline.source import WebRules, WebSource
from tests.faults.relay import NO_LINGER

Served = TypeVar("Served", bound="Unreliable")


class Unreliable:
    """Serves ``folder``. ``acts``: what becomes of each request for a file, the last one for ever:
    ``well``, a status, ``short`` (less than promised), ``cut`` (the first half, promised so),
    ``html``, ``empty``, ``whole`` (Range is ignored), ``slow`` (a byte now and then), ``reset``
    (of the connection), ``wait:SECONDS`` (then well), or ``to:URL``. ``asked``: requests by file.
    """

    def __init__(self, folder: Path, acts: Mapping[str, Sequence[str]]) -> None:
        self.folder, self.acts = folder, acts
        self.asked: Counter[str] = Counter()
        self.origin = ""

    def source(self, name: str = "stream.m3u8") -> WebSource:
        return WebSource(f"{self.origin}/{name}", WebRules([self.origin.partition("//")[2]]))

    def act(self, name: str) -> str:
        acts = self.acts.get(name, ("well",))
        number = min(self.asked[name], len(acts) - 1)
        self.asked[name] += 1
        return acts[number]

    def read(self, name: str) -> bytes | None:
        """What is served under this name."""
        path = self.folder / name
        return path.read_bytes() if path.is_file() else None

    def refusal(self, name: str, query: str) -> int:
        """The status with which this is refused; 0 if it is not."""
        return 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def do_GET(self) -> None:
        served: Unreliable = self.server.unreliable
        name, _, query = self.path.lstrip("/").partition("?")
        act = served.act(name)
        found = served.read(name)
        data = found or b""
        if act.startswith("wait:"):
            sleep(float(act.removeprefix("wait:")))
        if act.isdigit():
            self.answer(int(act), b"no")
        elif status := served.refusal(name, query):
            self.answer(status, b"no")
        elif act.startswith("to:"):
            self.answer(302, b"", Location=act.removeprefix("to:"))
        elif act == "html":
            self.answer(200, b"<!DOCTYPE html><html><body>Please log in</body></html>")
        elif act == "empty":
            self.answer(200, b"")
        elif act == "short":
            self.answer(200, data[: len(data) // 2], promised=len(data))
            self.close_connection = True
        elif act == "cut":
            self.answer(200, data[: len(data) // 2])
        elif act == "slow":
            self.dribble(data)
        elif act == "reset":
            self.reset()
        elif found is None:
            self.answer(404, b"no")
        elif "Range" in self.headers and act != "whole":
            first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
            told = f"bytes {first}-{last}/{len(data)}"
            self.answer(206, data[first : last + 1], **{"Content-Range": told})
        else:
            self.answer(200, data)

    def reset(self) -> None:
        self.connection.setsockopt(SOL_SOCKET, SO_LINGER, NO_LINGER)
        # The server itself would say good-bye first.
        os.close(self.connection.detach())
        self.close_connection = True

    def dribble(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(OSError):
            for byte in body:
                self.wfile.write(bytes([byte]))
                sleep(0.05)
        self.close_connection = True

    def answer(self, status: int, body: bytes, promised: int | None = None, **head: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if promised is None else promised))
        for name, value in head.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002


class Live(Unreliable):
    """``states``: what ``stream.m3u8`` is, request by request, the last one for ever; one that is
    empty is not there."""

    def __init__(
        self, folder: Path, states: Sequence[str], acts: Mapping[str, Sequence[str]]
    ) -> None:
        super().__init__(folder, acts)
        self._states = states

    def act(self, name: str) -> str:
        if name == "stream.m3u8":
            path = self.folder / name
            path.write_text(self._states[min(self.asked[name], len(self._states) - 1)])
            if not path.stat().st_size:
                path.unlink()
        return super().act(name)


def unreliable(
    folder: Path, acts: Mapping[str, Sequence[str]]
) -> AbstractContextManager[Unreliable]:
    return serving(Unreliable(folder, acts))


@contextmanager
def serving(served: Served) -> Iterator[Served]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        server.unreliable = served  # type: ignore[attr-defined]
        served.origin = f"http://127.0.0.1:{server.server_address[1]}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join(10)
