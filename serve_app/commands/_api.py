"""The HTTP API as the thin commands use it, and how they print what it answers."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import click
import httpx

from serve_app.commands._errors import Failure

TIMEOUT_S = 10.0
# What is left of a failed recording may have to be waited for.
POST_TIMEOUT_S = 20.0
TOKEN_VARIABLE = "VODRAY_TOKEN"  # noqa: S105 - its name
# The server sends a heartbeat every 15 s.
EVENTS_TIMEOUT_S = 45.0
MAX_RECONNECTS = 5
PAGE = 1000
RECONNECT_S = 1.0

STATUS_STYLES = {
    "recording": "bold cyan",
    "processing": "yellow",
    "completed": "green",
    "failed": "bold red",
}

Recording = Mapping[str, Any]


def url_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--url",
        envvar="VODRAY_URL",
        show_envvar=True,
        metavar="URL",
        help="Where the service is.  [default: http://127.0.0.1:$PORT]",
    )(command)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class ApiClient:
    """One service. Every failure is a ``Failure`` that names it."""

    def __init__(self, url: str | None) -> None:
        self._url = (url or _local_url()).rstrip("/")
        token = os.environ.get(TOKEN_VARIABLE)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str, **params: str | int) -> Any:
        """The JSON body of a 200."""
        with self._failures():
            answer = httpx.get(
                self._url + path, params=params, headers=self._headers, timeout=TIMEOUT_S
            )
            _check(answer)
            return answer.json()

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON body of a success, None without one."""
        with self._failures():
            answer = httpx.post(
                self._url + path, json=body, headers=self._headers, timeout=POST_TIMEOUT_S
            )
            _check(answer)
            return answer.json() if answer.content else None

    def act(self, recording_id: str, verb: str) -> Recording:
        """The recording as it is then."""
        answer = self.post(f"/recordings/{quote(recording_id, safe='')}/{verb}")
        recording: Recording = answer["recording"]
        return recording

    def recordings(self, limit: int) -> Iterator[Recording]:
        """The newest ``limit`` recordings, page by page."""
        cursor: dict[str, str] = {}
        while limit > 0:
            page = self.get("/recordings", limit=min(limit, PAGE), **cursor)
            yield from page["recordings"]
            limit -= len(page["recordings"])
            if "next_cursor" not in page:
                return
            cursor = {"cursor": page["next_cursor"]}

    def follow(self, recording_id: str) -> Iterator[Recording]:
        """A recording's states until the final one; a broken connection is made again."""
        failures = 0
        while True:
            try:
                for recording in self._events(f"/recordings/{recording_id}/events"):
                    failures = 0
                    yield recording
                    if recording["status"] in ("completed", "failed"):
                        return
            except httpx.TransportError as error:
                failures += 1
                if failures > MAX_RECONNECTS:
                    raise self._failure(error) from error
            time.sleep(RECONNECT_S)

    def _events(self, path: str) -> Iterator[Recording]:
        timeout = httpx.Timeout(TIMEOUT_S, read=EVENTS_TIMEOUT_S)
        with httpx.stream(
            "GET", self._url + path, headers=self._headers, timeout=timeout
        ) as answer:
            if answer.status_code != 200:
                answer.read()
                _check(answer)
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._failure(error) from error
        except ValueError as error:
            raise Failure(f"{self._url} answers, but is no vodray") from error

    def _failure(self, error: Exception) -> Failure:
        if isinstance(error, httpx.ConnectError):
            return Failure(f"no service at {self._url}. Start one with `vodray up`, or give --url")
        if isinstance(error, httpx.TimeoutException):
            return Failure(f"{self._url} does not answer in time")
        return Failure(f"{self._url}: {error}")


def _local_url() -> str:
    from pipeline.settings import load_settings

    return f"http://127.0.0.1:{load_settings().port}"


def _check(answer: httpx.Response) -> None:
    if answer.is_success:
        return
    try:
        reason = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        reason = f"{answer.url} answers {answer.status_code}"
    raise Failure(str(reason))


def on_terminal() -> bool:
    return sys.stdout.isatty()


def print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_changed(recording: Recording, as_json: bool) -> None:
    if as_json:
        print_json(recording)
    else:
        click.echo(f"{recording['id']}\t{recording['status']}")


def plain(value: object) -> str:
    """A value for people or ``cut``: one line, no control characters, empty for null."""
    text = "" if value is None else str(value)
    return "".join(char if char.isprintable() else " " for char in text)


def clock(seconds: float) -> str:
    """``1:02:03``; hours only where there are some."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(count: int) -> str:
    """Bytes with a binary unit: ``500.0 MiB``."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"
