"""The HTTP service listens by itself, in Serve's replica, where the Ray is our own.

Through Serve's proxy, which remains on another port, a request needs three times the CPU
(docs/bench.md).
"""

import os
import threading
import time
from collections.abc import Callable
from typing import Any

from ray.serve._private import replica as serve_replica

_WATCH_S = 0.5
_LISTEN = "start_asgi_http_server"


def environment(port: int) -> dict[str, str]:
    """What makes Serve's replica listen on ``port``, for the processes of a Ray that is not started
    yet."""
    return {
        "RAY_SERVE_ENABLE_DIRECT_INGRESS": "1",
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(port),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(port + 1),
        # The next replica takes the port of the one before it, and there is nobody in front who
        # would have to be told first.
        "RAY_SERVE_PORT_QUARANTINE_S": "0",
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
    }


def leave_port_to_next() -> None:
    """To be called in the replica, before it listens: whoever comes after it needs its port."""
    _end_with_raylet()
    _let_others_bind()


def _end_with_raylet() -> None:
    """By itself a replica takes its time to notice that its Ray is gone."""
    raylet = os.getppid()

    def watch() -> None:
        while os.getppid() == raylet:
            time.sleep(_WATCH_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _let_others_bind() -> None:
    """Serve's own listener does not set SO_REUSEADDR: after its end nobody could have its port for
    a minute, as long as connections of its clients linger. Its proxy does."""
    listen: Callable[..., Any] | None = getattr(serve_replica, _LISTEN, None)
    if listen is not None:
        setattr(
            serve_replica,
            _LISTEN,
            lambda *args, **options: listen(*args, **{**options, "enable_so_reuseport": True}),
        )
