"""What lies before and behind a chunk, made of its source as the chunk beside it makes it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.load import Loaded
from pipeline.maker import Maker
from pipeline.media.interleave import Body
from pipeline.media.limits import DEFAULT_LIMITS, MediaLimits
from pipeline.media.split import split
from pipeline.model import ChunkSpec, Segment, Stretch
from pipeline.plan import HEARD_S, Feed, behind, reach_back


@dataclass(frozen=True, slots=True)
class Border:
    """Sounds before where two pieces meet, in order, and behind it. Where chunks meet, each is made
    of its segment alone: so both find the same."""

    before: Sequence[Body]
    after: Body


class Neighbours:
    """Made when it is asked for. ``read``: loads a segment."""

    def __init__(
        self,
        chunk: ChunkSpec,
        read: Callable[[Segment], Loaded],
        limits: MediaLimits = DEFAULT_LIMITS,
    ) -> None:
        self._chunk, self._read, self._limits = chunk, read, limits
        self._made: dict[tuple[int, Sequence[Segment]], list[Body]] = {}

    def pictures_before(self) -> Body | None:
        """With a keyframe, if there is one so near."""
        found, stretch = _last_pictures(self._before(0)), self._stretch(0)
        if stretch.before is None or (found is not None and found.span.tracks[0].key.any()):
            return found
        past = (*stretch.earlier, stretch.before)
        start_s = stretch.start_s - sum(segment.duration_s for segment in past)
        return _last_pictures(self._alone(0, past, start_s, stretch.opening))

    def pictures_after(self) -> Body | None:
        return next(filter(is_pictures, self._after(0)), None)

    def sound_before(self, playlist: int, number: int) -> Body | None:
        return sound_of(_sounds(self._before(playlist))[::-1], number)

    def sound_after(self, playlist: int, number: int) -> Body | None:
        return sound_of(_sounds(self._after(playlist)), number)

    def sounds_at_begin(self, playlist: int, number: int) -> Border | None:
        """Around where the chunk begins, as ``sounds_at_end`` of the one before it finds them."""
        own = self._stretch(playlist)
        if not own.segments or own.before is None:
            return None
        past = reach_back((*own.earlier, own.before), HEARD_S)
        return self._around(playlist, number, past, own.segments[0], own.start_s, own.opening)

    def sounds_at_end(self, playlist: int, number: int) -> Border | None:
        """Around where it ends."""
        own = self._stretch(playlist)
        if not own.segments or own.after is None:
            return None
        end = behind(Feed(opening=own.opening, reach_s=HEARD_S), own)
        past = (*end.earlier, own.segments[-1])
        return self._around(playlist, number, past, own.after, end.planned_s, end.opening)

    def _around(
        self,
        playlist: int,
        number: int,
        past: Sequence[Segment],
        following: Segment,
        border_s: float,
        opening: Segment | None,
    ) -> Border | None:
        made = _sounds(self._alone(playlist, (following,), border_s, opening))
        after, before, at_s = sound_of(made, number), list[Body](), border_s
        for segment in reversed(past):
            at_s -= segment.duration_s
            sounds = _sounds(self._alone(playlist, (segment,), at_s, opening))
            before[:0] = [body for body in sounds if body.span.sound == number]
        return None if after is None or not before else Border(before, after)

    def _before(self, playlist: int) -> list[Body]:
        stretch = self._stretch(playlist)
        if stretch.before is None:
            return []
        start_s = stretch.start_s - stretch.before.duration_s
        return self._alone(playlist, (stretch.before,), start_s, stretch.opening)

    def _after(self, playlist: int) -> list[Body]:
        stretch = self._stretch(playlist)
        if stretch.after is None:
            return []
        start_s = stretch.start_s + stretch.duration_s
        return self._alone(playlist, (stretch.after,), start_s, _opening_behind(stretch))

    def _stretch(self, playlist: int) -> Stretch:
        return (self._chunk.main, *self._chunk.audio)[playlist]

    def _alone(
        self,
        playlist: int,
        segments: tuple[Segment, ...],
        start_s: float,
        opening: Segment | None,
    ) -> list[Body]:
        """What segments become by themselves, in order, tracks apart."""
        key = (playlist, segments)
        if key not in self._made:
            stretch = self._stretch(playlist)
            alone = Stretch(
                segments=segments,
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
            bodies = maker.make([self._read(segment) for segment in segments]).bodies
            self._made[key] = [p for body in bodies for p in apart(body, self._chunk)]
        return self._made[key]


def apart(body: Body, chunk: ChunkSpec) -> list[Body]:
    """Pictures and sounds that share fragments; sound alone is a playlist as it is."""
    return split(body) if body.span.playlist == 0 and chunk.main.form.video else [body]


def is_pictures(body: Body) -> bool:
    return body.span.tracks[0].kind == "video"


def sound_of(sounds: Sequence[Body], number: int) -> Body | None:
    return next((body for body in sounds if body.span.sound == number), None)


def _opening_behind(stretch: Stretch) -> Segment | None:
    """``Stretch.opening`` of what goes on from it."""
    return behind(Feed(opening=stretch.opening), stretch).opening


def _last_pictures(bodies: Sequence[Body]) -> Body | None:
    return next(filter(is_pictures, reversed(bodies)), None)


def _sounds(bodies: Sequence[Body]) -> list[Body]:
    return [body for body in bodies if not is_pictures(body)]
