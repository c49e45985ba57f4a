"""A Ray for this process: the cluster that ``RAY_ADDRESS`` names, else a local one of its own."""

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import ray
from ray._private import ray_constants

from pipeline.errors import WorkerLost
from pipeline.settings import Settings

_ENVIRONMENT = {
    # Ray must not report home.
    "RAY_USAGE_STATS_ENABLED": "0",
    # Serve would look every 0.1 s whether its one deployment is as it should be, which costs 4 % of
    # a core for ever.
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "1000",
    # The log monitor would look for new files ten times a second, for drivers that show the logs of
    # actors: ours does not.
    "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0",
    "LOG_NAME_UPDATE_INTERVAL_S": "10",
    # On a busy machine the HTTP proxy needs more than the 5 s after which Serve would kill it, and
    # with it whoever waits for Serve to start.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    # uvicorn would believe the X-Forwarded-For of all on this machine: TRUSTED_PROXIES says who is
    # believed (access/limits.py).
    "FORWARDED_ALLOW_IPS": "",
    # Workers that do media work step back by themselves; all else answers, whoever is busy here.
    "RAY_worker_niceness": "0",
}
_VITAL = ("gcs_server", "raylet")
_SHUTDOWN_S = 5.0
_ATTEMPTS = 2

_vital: dict[str, psutil.Process] = {}


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
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    address = settings.ray_address or "local"
    options: dict[str, Any] = {}
    if not settings.ray_address:
        _stay_on_loopback()
        options = {
            "num_cpus": num_cpus,
            "include_dashboard": dashboard,
            "_node_ip_address": "127.0.0.1",
        }
    _connect(address, options)
    for process in psutil.Process().children():
        if process.name() in _VITAL:
            _vital[process.name()] = process
    try:
        yield
    finally:
        left = _family(_vital.values())
        _vital.clear()
        bounded(_SHUTDOWN_S, ray.shutdown)
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()


def _stay_on_loopback() -> None:
    """Of this process and of those that Ray starts: no cluster with other machines, so that nothing
    listens but on 127.0.0.1. It is the rule on Windows and macOS, and the variable is named after
    that; Ray has read it when it was imported."""
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False


def _connect(address: str, options: dict[str, Any]) -> None:
    """Ray gives its processes 30 s to start, which a very busy machine may not: try again once."""
    for attempt in range(_ATTEMPTS):
        try:
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **options)
            return
        # Ray raises a bare Exception for a slow start.
        except Exception as error:
            ray.shutdown()
            if attempt + 1 == _ATTEMPTS:
                raise WorkerLost(
                    f"Ray did not start ({address}): {error}", "See the logs under /tmp/ray"
                ) from error


def _family(parents: Iterable[psutil.Process]) -> list[psutil.Process]:
    """They and what they have started: a Ray that has lost only a part of itself does not end at
    once when it is told to, and its actors would work beside those that come after them."""
    found = []
    for parent in parents:
        with contextlib.suppress(psutil.Error):
            found += [parent, *parent.children(recursive=True)]
    return found


def lost_processes() -> tuple[str, ...]:
    """Those of Ray's that this process started, and without which there is no Ray any more."""
    return tuple(
        name
        for name, process in _vital.items()
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    )


def dashboard_url() -> str | None:
    """The address of the Ray dashboard, if it runs."""
    url: str | None = ray.worker.get_dashboard_url()
    return f"http://{url}" if url else None
