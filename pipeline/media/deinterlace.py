"""Interlaced pictures made progressive by FFmpeg's filter ``bwdif``, one for each, at its time.

The filter looks at the pictures before and behind: at the ends of a piece at those of its
neighbours, so that pictures do not depend on where a stream is cut.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from av.video.frame import VideoFrame

from pipeline.media.decode_pictures import Picture, Pictures, decoded, first_after, last_before
from pipeline.media.filters import Shape, filtering, graph
from pipeline.media.limits import MediaLimits

# All of them, so that it makes no difference to a picture what came long before.
_FILTER = ("bwdif", "mode=send_frame:deint=all")


def progressive(given: Pictures, limits: MediaLimits) -> Iterator[Picture]:
    """What can be decoded of the piece, as ``decoded``; those that are progressive are left alone,
    and neighbours are only read beside those that are not."""
    run: _Run | None = None
    last: VideoFrame | None = None
    for picture in decoded(given, limits):
        if run is not None and run.shape != Shape.of(picture.frame):
            yield from run.finish(None)
            run = None
        if run is None and picture.is_interlaced:
            before = last if last is not None else last_before(given, limits)
            run = _Run(Shape.of(picture.frame), before)
        last = picture.frame
        yield from run.take(picture) if run is not None else (picture,)
    if run is not None:
        is_needed = last is not None and last.interlaced_frame
        yield from run.finish(first_after(given, limits) if is_needed else None)


class _Run:
    """Pictures of one shape, from the first one that is interlaced on; ``before``: the one that is
    shown before it. Neighbours of another shape are none."""

    def __init__(self, shape: Shape, before: VideoFrame | None) -> None:
        self.shape = shape
        with filtering():
            self._graph = graph(shape, [_FILTER])
        # What is inside the filter; None: not of the piece.
        self._inside: deque[Picture | None] = deque()
        self._push_beside(before)

    def take(self, picture: Picture) -> Iterator[Picture]:
        self._inside.append(picture)
        self._push(picture.frame)
        yield from self._made()

    def finish(self, behind: VideoFrame | None) -> Iterator[Picture]:
        """``behind``: the picture that comes next."""
        self._push_beside(behind)
        self._push(None)
        yield from self._made()

    def _push_beside(self, frame: VideoFrame | None) -> None:
        if frame is not None and Shape.of(frame) == self.shape:
            self._inside.append(None)
            self._push(frame)

    def _push(self, frame: VideoFrame | None) -> None:
        with filtering():
            self._graph.push(frame)

    def _made(self) -> Iterator[Picture]:
        for frame in self._pulled():
            picture = self._inside.popleft()
            if picture is not None:
                is_own = not picture.is_interlaced
                yield picture if is_own else replace(picture, frame=frame)

    def _pulled(self) -> Iterator[VideoFrame]:
        with filtering(), suppress(BlockingIOError, EOFError):
            while True:
                frame = self._graph.pull()
                assert isinstance(frame, VideoFrame)
                yield frame
