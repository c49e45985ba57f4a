"""What this process opens and connects to while a recording is made, as Python's audit events say.

An audit hook cannot be taken out again: it is put in once, and costs one comparison while nobody
watches.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any


@dataclass(slots=True)
class Seen:
    """``opened``: names of files; ``connected``: addresses other than Unix sockets."""

    opened: list[str] = field(default_factory=list)
    connected: list[Any] = field(default_factory=list)


_watchers: list[Seen] = []


@contextmanager
def watching() -> Iterator[Seen]:
    _put_in()
    seen = Seen()
    _watchers.append(seen)
    try:
        yield seen
    finally:
        _watchers.remove(seen)


@cache
def _put_in() -> None:
    sys.addaudithook(_hear)


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watchers:
        return
    for seen in _watchers:
        if event == "open":
            seen.opened.append(str(arguments[0]))
        elif event == "socket.connect" and isinstance(arguments[1], tuple):
            seen.connected.append(arguments[1])
