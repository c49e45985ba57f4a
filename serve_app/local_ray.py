"""A Ray for this process: the cluster that ``RAY_ADDRESS`` names, else a local one of its own."""

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray

from pipeline.settings import Settings

_SHUTDOWN_S = 5.0


def bounded(seconds: float, call: Callable[[], object]) -> None:
    """Call, but go on after ``seconds``: Ray waits long for a cluster whose head is gone already,
    as when a signal reaches all processes at once."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)


@contextmanager
def local_ray(
    settings: Settings, num_cpus: int | None = None, *, dashboard: bool = False
) -> Iterator[None]:
    """Connected to Ray inside, disconnected (and, if it was ours, ended) behind."""
    # Ray must not report home.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = settings.ray_address or "local"
    options: dict[str, Any] = {}
    if not settings.ray_address:
        options = {"num_cpus": num_cpus, "include_dashboard": dashboard}
    ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **options)
    try:
        yield
    finally:
        bounded(_SHUTDOWN_S, ray.shutdown)


def dashboard_url() -> str | None:
    """The address of the Ray dashboard, if it runs."""
    url: str | None = ray.worker.get_dashboard_url()
    return f"http://{url}" if url else None
