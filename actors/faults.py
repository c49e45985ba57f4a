"""What Ray raises when a process or node of ours is gone, as one error of the product."""

from collections.abc import Iterator
from contextlib import contextmanager

import ray.exceptions as ray_errors

from pipeline.errors import VodrayError, WorkerLost

LOST = (
    ray_errors.RayActorError,
    ray_errors.NodeDiedError,
    ray_errors.WorkerCrashedError,
    ray_errors.OutOfMemoryError,
    ray_errors.ObjectLostError,
    ray_errors.RaySystemError,
    ray_errors.ActorUnschedulableError,
    ray_errors.GetTimeoutError,
)


@contextmanager
def actor_errors(what: str) -> Iterator[None]:
    """Map Ray's errors; an error of ours that crossed a process comes out as itself."""
    try:
        yield
    except ray_errors.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, VodrayError):
            raise cause from error
        raise
    except LOST as error:
        raise WorkerLost(f"{what} was lost: {type(error).__name__}") from error
