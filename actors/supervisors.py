"""Starts the actors of recordings, and says which recording gets which.

A process takes 1.5 s of a core until it can work, and one in a hundred of a core and 80 MB while it
waits. So one is kept ready: a stream that has ended already is waited for, and gets it. Who is done
with such a one takes the next. A live stream has the time to start its own, which bears its name in
the Ray dashboard; where there are many, those beyond the first share a few.
"""

import time
from collections import Counter
from typing import Any

import ray

from actors import names
from actors.pool import cluster_cpus
from actors.recording import OPTIONS, RecordingActor
from pipeline.model import Recording
from pipeline.settings import Settings

# For each core of the cluster so many live streams have an actor of their own; so many of the
# others share one.
_OWN_BY_CORE = 2
_SHARED_BY = 24
# The next one is not made ready while the recordings that were just begun need the processor.
_CALM_S = 20.0


class Supervisors:
    """Call ``keep_ready`` regularly, inside an actor: whatever it started ends with that one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ready: Any = None
        # Of each actor that works: how many recordings it has.
        self._has: Counter[Any] = Counter()
        self._own: set[Any] = set()
        self._shared: set[Any] = set()
        self._calm_at = 0.0

    def has_room(self, recording: Recording) -> bool:
        """Whether the recording needs no process to be started."""
        if recording.end_reason is not None:
            return self._ready is not None
        return not self._may_own() and self._roomy() is not None

    def start(self, recording: Recording) -> Any:
        """The actor for this recording: it may have been started before it was known."""
        self._calm_at = time.monotonic() + _CALM_S
        handle = self._actor_for(recording)
        self._has[handle] += 1
        return handle

    def _actor_for(self, recording: Recording) -> Any:
        if recording.end_reason is not None:
            ready, self._ready = self._ready, None
            return ready or self._start_nameless()
        if not self._may_own():
            shared = self._roomy() or self._start_nameless()
            self._shared.add(shared)
            return shared
        own = RecordingActor.options(
            name=names.supervisor(recording.id),
            namespace=names.NAMESPACE,
            get_if_exists=True,
            **OPTIONS,
        ).remote(self._settings)
        self._own.add(own)
        return own

    def end(self, handle: Any, *, is_well: bool) -> None:
        """It has ended a recording. One that is not well gets no other; those that it has go on,
        unless it is dead."""
        self._has[handle] -= 1
        is_kept = is_well and handle not in self._own
        if not is_kept:
            self._shared.discard(handle)
        if self._has[handle] > 0:
            return
        del self._has[handle]
        self._shared.discard(handle)
        self._own.discard(handle)
        if is_kept and self._ready is None:
            self._ready = handle
        else:
            ray.kill(handle, no_restart=True)

    def all_ended(self) -> None:
        """The processor is free again."""
        self._calm_at = 0.0

    def keep_ready(self) -> None:
        if self._ready is None and time.monotonic() >= self._calm_at:
            self._ready = self._start_nameless()

    def _may_own(self) -> bool:
        """Whether another live stream gets an actor of its own."""
        return len(self._own) < _OWN_BY_CORE * cluster_cpus()

    def _roomy(self) -> Any:
        """A shared one that can take another recording, if there is one."""
        return next((one for one in self._shared if self._has[one] < _SHARED_BY), None)

    def _start_nameless(self) -> Any:
        return RecordingActor.options(**OPTIONS).remote(self._settings)
