"""Live encoders: they show prepared streams segment by segment, in real time or faster."""

import heapq
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from threading import Condition, Thread
from typing import Literal, Self

from tests.faults.origin import Target
from tests.faults.prepared import Entry, Prepared, renamed

End = Literal["endlist", "silence", "gone"]
_JOIN_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One life of an encoder: all of ``playlist``, numbered from 0.

    ``end_after_s`` after its last segment comes its ``end``: ENDLIST, nothing, or the playlist is
    deleted. ``pause_s`` after that the next run begins. These two are not sped up. With
    ``same_names`` its files replace those of the run before.
    """

    playlist: Path
    end: End = "endlist"
    end_after_s: float = 0.0
    pause_s: float = 0.0
    same_names: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """How a stream is shown. ``window``: how many segments the playlist lists, None: all, and with
    ``event`` it says so; ``kept``: a segment is deleted when so many more have left the window
    after it, None: never;
    ``speed``: 2.0 is twice real time; ``already``: segments of the first run that are there when it
    begins; ``delay_s``: until it begins.
    """

    runs: tuple[Run, ...]
    window: int | None = None
    event: bool = True
    kept: int | None = None
    speed: float = 1.0
    already: int = 0
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A segment once the playlist has it. ``at``: by ``time.monotonic``."""

    run: int
    sequence: int
    name: str
    duration_s: float
    at: float


class Channel:
    """A stream on its way. ``published``/``gone``: what was shown, and the names that were deleted
    since, each in order. ``ended_at``: when the last run's end was done (``time.monotonic``).
    ``late_s``: how late the publisher was at worst.

    Without a ``Publisher``, ``step`` shows the next thing, whatever the time.
    """

    def __init__(self, target: Target, key: str, script: Script) -> None:
        self.key, self.script = key, script
        self.published: list[Shown] = []
        self.gone: list[str] = []
        self.ended_at: float | None = None
        self.late_s = 0.0
        self._target = target
        self._steps = self._play()

    @property
    def seconds(self) -> float:
        """How much of the stream has been shown."""
        return sum(shown.duration_s for shown in self.published)

    def step(self) -> float | None:
        """Do what is next; seconds from the time of this step to that of the following one, None
        after the last."""
        return next(self._steps, None)

    # --- one thing after the other -----------------------------------------------------------
    def _play(self) -> Generator[float, None, None]:
        yield self.script.delay_s
        for number, run in enumerate(self.script.runs):
            yield from self._run(number, run)
            if number + 1 < len(self.script.runs):
                yield run.pause_s
        self.ended_at = time.monotonic()

    def _run(self, number: int, run: Run) -> Generator[float, None, None]:
        prepared = Prepared(run.playlist)
        prefix = "" if run.same_names or not number else f"{number}_"
        for path in prepared.files:
            self._put(prefix + path.name, path)
        head = [renamed(tag, prefix.__add__) for tag in prepared.head]
        listed: list[tuple[Entry, str]] = []
        for sequence, entry in enumerate(prepared.entries):
            name = prefix + entry.path.name
            if number or sequence >= self.script.already:
                yield entry.duration_s / self.script.speed
            self._put(name, entry.path)
            listed.append((entry, name))
            self._list(head, listed)
            self.published.append(
                Shown(
                    run=number,
                    sequence=sequence,
                    name=name,
                    duration_s=entry.duration_s,
                    at=time.monotonic(),
                )
            )
            self._forget(listed)
        if run.end_after_s:
            yield run.end_after_s
        if run.end == "endlist":
            self._list(head, listed, ended=True)
        elif run.end == "gone":
            self._target.delete(f"{self.key}/stream.m3u8")

    def _put(self, name: str, path: Path) -> None:
        self._target.put(f"{self.key}/{name}", path)

    def _list(
        self, head: list[str], listed: list[tuple[Entry, str]], *, ended: bool = False
    ) -> None:
        window = self.script.window
        first = 0 if window is None else max(0, len(listed) - window)
        lines = [*head, f"#EXT-X-MEDIA-SEQUENCE:{first}"]
        if window is None and self.script.event:
            lines.append("#EXT-X-PLAYLIST-TYPE:EVENT")
        for entry, name in listed[first:]:
            lines += [*entry.tags, name]
        lines += ["#EXT-X-ENDLIST"] if ended else []
        self._target.put(f"{self.key}/stream.m3u8", "\n".join([*lines, ""]).encode())

    def _forget(self, listed: list[tuple[Entry, str]]) -> None:
        """What has left the window long enough ago: at most one at a time."""
        script = self.script
        if script.window is None or script.kept is None:
            return
        at = len(listed) - script.window - script.kept - 1
        if at >= 0:
            name = listed[at][1]
            self._target.delete(f"{self.key}/{name}")
            self.gone.append(name)


@dataclass(order=True, slots=True)
class _Due:
    at: float
    order: int
    channel: Channel = field(compare=False)


class Publisher:
    """Many channels at once, each in its order, by ``writers`` threads that write one thing each.

    Runs inside its context. What fails to be written ends its channel, and is raised at ``wait`` or
    at the end.
    """

    def __init__(self, writers: int = 1) -> None:
        self._heap: list[_Due] = []
        self._changed = Condition()
        self._numbers = count()
        self._at_work = 0
        self._stopped = False
        self._failures: list[Exception] = []
        self._threads = [
            Thread(target=self._write, name=f"publisher-{n}", daemon=True) for n in range(writers)
        ]

    def add(self, target: Target, key: str, script: Script) -> Channel:
        """It begins now."""
        channel = Channel(target, key, script)
        self._push(channel, time.monotonic())
        return channel

    def wait(self, timeout_s: float) -> None:
        """Until all is shown."""
        with self._changed:
            done = self._changed.wait_for(lambda: not self._heap and not self._at_work, timeout_s)
        self._raise()
        assert done, f"not all was published within {timeout_s} s"

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.stop()
        if kind is None:
            self._raise()

    def stop(self) -> None:
        """In the middle of the streams, if need be."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(_JOIN_S)

    def _raise(self) -> None:
        if self._failures:
            raise self._failures[0]

    def _push(self, channel: Channel, at: float) -> None:
        with self._changed:
            heapq.heappush(self._heap, _Due(at, next(self._numbers), channel))
            self._changed.notify_all()

    def _write(self) -> None:
        while (due := self._next()) is not None:
            try:
                pause_s = due.channel.step()
            except Exception as error:  # noqa: BLE001 -- told to whoever waits
                self._failures.append(error)
                pause_s = None
            due.channel.late_s = max(due.channel.late_s, time.monotonic() - due.at)
            if pause_s is not None:
                self._push(due.channel, due.at + pause_s)
            with self._changed:
                self._at_work -= 1
                self._changed.notify_all()

    def _next(self) -> _Due | None:
        """The channel that is due first, once it is."""
        with self._changed:
            while not self._stopped:
                wait_s = self._heap[0].at - time.monotonic() if self._heap else None
                if wait_s is not None and wait_s <= 0:
                    self._at_work += 1
                    return heapq.heappop(self._heap)
                self._changed.wait(wait_s)
        return None
