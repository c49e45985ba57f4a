"""Starts the actors of recordings. A process takes 1.5 s until it can work on a busy machine, so
one is kept ready: a stream that has ended already is waited for, and gets it. Who is done with such
a one takes the next.

A live stream has the time to start its own, which bears its name in the Ray dashboard.
"""

import time
from typing import Any

import ray

from actors import names
from actors.recording import OPTIONS, RecordingActor
from pipeline.model import Recording
from pipeline.settings import Settings

# The next one is not made ready while the recordings that were just begun need the processor.
_CALM_S = 20.0


class Supervisors:
    """Call ``keep_ready`` regularly, inside an actor: whatever it started ends with that one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ready: Any = None
        self._nameless: set[Any] = set()
        self._calm_at = 0.0

    @property
    def has_ready(self) -> bool:
        """Whether the next stream that has ended needs no process to be started."""
        return self._ready is not None

    def start(self, recording: Recording) -> Any:
        """The actor for this recording: it may have been started before it was known."""
        self._calm_at = time.monotonic() + _CALM_S
        if recording.end_reason is not None:
            ready, self._ready = self._ready, None
            return ready or self._start_nameless()
        return RecordingActor.options(
            name=names.supervisor(recording.id),
            namespace=names.NAMESPACE,
            get_if_exists=True,
            **OPTIONS,
        ).remote(self._settings)

    def end(self, handle: Any, *, is_well: bool) -> None:
        """It has ended its recording; one that is not well is of no use any more."""
        if is_well and handle in self._nameless and self._ready is None:
            self._ready = handle
            return
        self._nameless.discard(handle)
        ray.kill(handle, no_restart=True)

    def all_ended(self) -> None:
        """The processor is free again."""
        self._calm_at = 0.0

    def keep_ready(self) -> None:
        if self._ready is None and time.monotonic() >= self._calm_at:
            self._ready = self._start_nameless()

    def _start_nameless(self) -> Any:
        handle = RecordingActor.options(**OPTIONS).remote(self._settings)
        self._nameless.add(handle)
        return handle
