"""What lies before and behind a chunk, made of its source as the chunk beside it makes it."""

from collections.abc import Callable, Sequence

from pipeline.load import Loaded
from pipeline.maker import Maker
from pipeline.media.interleave import Body
from pipeline.media.limits import DEFAULT_LIMITS, MediaLimits
from pipeline.media.split import split
from pipeline.model import ChunkSpec, Segment, Stretch
from pipeline.plan import Feed, behind


class Neighbours:
    """Made when it is asked for. ``read``: loads a segment."""

    def __init__(
        self,
        chunk: ChunkSpec,
        read: Callable[[Segment], Loaded],
        limits: MediaLimits = DEFAULT_LIMITS,
    ) -> None:
        self._chunk, self._read, self._limits = chunk, read, limits
        self._made: dict[tuple[int, Segment], list[Body]] = {}

    def pictures_before(self) -> Body | None:
        return _last_pictures(self._before(0))

    def pictures_after(self) -> Body | None:
        return next(filter(is_pictures, self._after(0)), None)

    def sound_before(self, playlist: int, number: int) -> Body | None:
        return sound_of(_sounds(self._before(playlist))[::-1], number)

    def sound_after(self, playlist: int, number: int) -> Body | None:
        return sound_of(_sounds(self._after(playlist)), number)

    def sounds_at_begin(self, playlist: int, number: int) -> tuple[Body, Body] | None:
        """Before and behind where the chunk begins, each made of its segment alone: for the chunk
        before it, they are what ``sounds_at_end`` gives."""
        stretch = self._stretch(playlist)
        before = self.sound_before(playlist, number)
        if before is None or not stretch.segments:
            return None
        first = self._alone(playlist, stretch.segments[0], stretch.start_s, stretch.opening)
        return _both(before, sound_of(_sounds(first), number))

    def sounds_at_end(self, playlist: int, number: int) -> tuple[Body, Body] | None:
        """The same where it ends."""
        stretch = self._stretch(playlist)
        after = self.sound_after(playlist, number)
        if after is None or not stretch.segments:
            return None
        segment = stretch.segments[-1]
        start_s = stretch.start_s + stretch.duration_s - segment.duration_s
        last = self._alone(playlist, segment, start_s, _opening_behind(stretch))
        return _both(sound_of(_sounds(last)[::-1], number), after)

    def _before(self, playlist: int) -> list[Body]:
        stretch = self._stretch(playlist)
        if stretch.before is None:
            return []
        start_s = stretch.start_s - stretch.before.duration_s
        return self._alone(playlist, stretch.before, start_s, stretch.opening)

    def _after(self, playlist: int) -> list[Body]:
        stretch = self._stretch(playlist)
        if stretch.after is None:
            return []
        start_s = stretch.start_s + stretch.duration_s
        return self._alone(playlist, stretch.after, start_s, _opening_behind(stretch))

    def _stretch(self, playlist: int) -> Stretch:
        return (self._chunk.main, *self._chunk.audio)[playlist]

    def _alone(
        self, playlist: int, segment: Segment, start_s: float, opening: Segment | None
    ) -> list[Body]:
        """What a segment becomes by itself, in order, tracks apart."""
        key = (playlist, segment)
        if key not in self._made:
            stretch = self._stretch(playlist)
            alone = Stretch(
                segments=(segment,),
                start_s=max(0.0, start_s),
                form=stretch.form,
                sound=stretch.sound,
                opening=opening,
            )
            maker = Maker(
                alone,
                anchor_s=self._chunk.anchor_s,
                playlist=playlist,
                nearby=self._read,
                limits=self._limits,
            )
            bodies = maker.make([self._read(segment)]).bodies
            self._made[key] = [p for body in bodies for p in apart(body, self._chunk)]
        return self._made[key]


def apart(body: Body, chunk: ChunkSpec) -> list[Body]:
    """Pictures and sounds that share fragments; sound alone is a playlist as it is."""
    return split(body) if body.span.playlist == 0 and chunk.main.form.video else [body]


def is_pictures(body: Body) -> bool:
    return body.span.tracks[0].kind == "video"


def sound_of(sounds: Sequence[Body], number: int) -> Body | None:
    return next((body for body in sounds if body.span.sound == number), None)


def _both(before: Body | None, after: Body | None) -> tuple[Body, Body] | None:
    return None if before is None or after is None else (before, after)


def _opening_behind(stretch: Stretch) -> Segment | None:
    """``Stretch.opening`` of what goes on from it."""
    return behind(Feed(opening=stretch.opening), stretch).opening


def _last_pictures(bodies: Sequence[Body]) -> Body | None:
    return next(filter(is_pictures, reversed(bodies)), None)


def _sounds(bodies: Sequence[Body]) -> list[Body]:
    return [body for body in bodies if not is_pictures(body)]
