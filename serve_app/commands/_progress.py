"""Progress of a command: a bar on a terminal, a plain line now and then otherwise."""

import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

_PLAIN_EVERY_S = 5.0


class ProgressLine:
    """Use as a context; ``show`` takes the recording as it stands, ``count`` anything."""

    def __init__(self, title: str) -> None:
        self._console = Console(stderr=True)
        self._title = title
        self._told_s = time.monotonic()
        self._bar: Progress | None = None
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[detail]}"),
                TimeElapsedColumn(),
                console=self._console,
            )
            self._task = self._bar.add_task(title[-50:], total=None, detail="")

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, recording: Any) -> None:
        progress = recording.progress
        detail = (
            f"{recording.status}: {progress.chunks_done} of {progress.chunks_total} chunks, "
            f"{progress.seconds:.0f} of {recording.duration} s"
        )
        self.count(progress.chunks_done, progress.chunks_total, detail)

    def count(self, done: int, total: int, detail: str) -> None:
        """``total`` 0: not known yet."""
        if self._bar is not None:
            self._bar.update(self._task, total=total or None, completed=done, detail=detail)
        elif time.monotonic() - self._told_s >= _PLAIN_EVERY_S:
            self._told_s = time.monotonic()
            self._console.print(detail, highlight=False)
