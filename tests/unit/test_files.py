"""Media is passed on from our own store, whatever else the environment says."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from serve_app.ranges import Span
from serve_app.routes.files import _pieces


class _Store(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = self.headers["Range"].encode()
        self.send_response(206)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002


async def test_no_proxy_is_asked_for_what_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Store) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/vod/a.mp4"
        try:
            pieces = [piece async for piece in _pieces(url, Span(0, 9), '"etag"')]
        finally:
            server.shutdown()
    assert b"".join(pieces) == b"bytes=0-9"
