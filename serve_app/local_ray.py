"""A Ray for this process: the cluster that ``RAY_ADDRESS`` names, else a local one of its own."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from pipeline.settings import Settings


@contextmanager
def local_ray(
    settings: Settings, num_cpus: int | None = None, *, dashboard: bool = False
) -> Iterator[None]:
    """Connected to Ray inside, disconnected (and, if it was ours, ended) behind."""
    # Workers must find the same code and libraries, and not report home.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    address = settings.ray_address or "local"
    options = {} if settings.ray_address else {
        "num_cpus": num_cpus, "include_dashboard": dashboard,
    }
    ray.init(
        address=address, logging_level=logging.ERROR, log_to_driver=False,
        configure_logging=True, **options,
    )
    try:
        yield
    finally:
        ray.shutdown()
