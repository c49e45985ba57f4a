"""A Ray for this process: the cluster that ``RAY_ADDRESS`` names, else a local one of its own."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from pipeline.settings import Settings


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
        ray.shutdown()
