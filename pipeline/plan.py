"""Playlist segments -> chunks: a pure plan that grows with the stream.

A chunk is cut where a segment of the main playlist starts, once it holds enough bytes to be a part
of its own and it is known what comes next. Playlists of sound alone follow: each of their segments
goes where its middle lies by the durations that the playlists claim.

Sizes come from the bucket's listing, or are estimated from the first segment, never from what
workers found: the same input gives the same plan, and so the same bytes, whatever the number of
workers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

from pipeline.media.layout import (
    LAST_ENCODED_CHUNK_S,
    MAX_CHUNKS,
    target_chunk_bytes,
    target_encoded_chunk,
)
from pipeline.model import PLAIN, PLAIN_TILE, ChunkSpec, Form, Segment, Sound, Stretch, TileSize

# No chunk waits for more media than this, so that progress and live playback keep coming even at
# very low bit rates.
MAX_CHUNK_S = 600.0
# Each of them is a request, and an address in the job.
MAX_CHUNK_SEGMENTS = 1000
# A playlist of sound that is farther behind than this does not hold up the pictures.
MAX_LAG_S = 60.0
# Of the sound before a chunk, where the chunk's is brought to a loudness: as much as
# ``pipeline.media.gain.AROUND_S``.
HEARD_S = 7.5
# Of the pictures before a chunk that is encoded: encoders make GOPs of 10 s unless they are told
# otherwise, and some segments begin within one.
_GOP_S = 10.0
# In segments that are far too short.
_MOST_EARLIER = 30
_BATCH_SEGMENTS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """What of one playlist is not cut yet. ``planned_s``: seconds before ``pending``, ``known_s``:
    up to its end; ``earlier``, ``before`` and ``opening`` as in ``Stretch``, for the first pending
    segment; ``reach_s``: how long the first two should be together, 0: ``before`` is enough."""

    sound: Sound | None = None
    form: Form = PLAIN
    planned_s: float = 0.0
    known_s: float = 0.0
    reach_s: float = 0.0
    pending: tuple[Segment, ...] = ()
    earlier: tuple[Segment, ...] = ()
    before: Segment | None = None
    opening: Segment | None = None

    def add(self, segments: Sequence[Segment]) -> "Feed":
        length = sum(segment.duration_s for segment in segments)
        last = self.pending[-1:] or ((self.before,) if self.before else ())
        inits = {segment.init for segment in (*last, *segments)}
        in_band = self.form.in_band or len(inits) > 1
        return replace(
            self,
            pending=(*self.pending, *segments),
            known_s=self.known_s + length,
            form=replace(self.form, in_band=in_band),
        )

    def take(self, count: int) -> "tuple[Feed, Stretch]":
        """Cut off the first ``count`` segments."""
        taken, left = self.pending[:count], self.pending[count:]
        continues = bool(taken) and not taken[0].discontinuity
        after = left[0] if left and not left[0].discontinuity else None
        stretch = Stretch(
            segments=taken,
            start_s=self.planned_s,
            form=self.form,
            sound=self.sound,
            opening=self.opening if continues else None,
            earlier=self.earlier if continues else (),
            before=self.before if continues else None,
            after=after,
        )
        return replace(behind(self, stretch), pending=left), stretch


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanState:
    """What is planned so far: number of chunks, and what is left of the playlists, main first.
    ``is_encoded``: chunks are as long as they take to encode, however few bytes they have."""

    anchor_s: int
    bytes_per_s: float
    is_encoded: bool = False
    tile: TileSize = PLAIN_TILE
    feeds: tuple[Feed, ...] = (Feed(),)
    chunks: int = 0

    @property
    def known_s(self) -> float:
        return self.feeds[0].known_s


def behind(feed: Feed, stretch: Stretch) -> Feed:
    """The feed behind segments that are planned."""
    opening = feed.opening
    for segment in stretch.segments:
        opening = segment if segment.discontinuity or opening is None else opening
    planned_s = stretch.start_s + stretch.duration_s
    return replace(
        feed,
        form=replace(feed.form, in_band=feed.form.in_band or stretch.form.in_band),
        planned_s=planned_s,
        known_s=max(planned_s, feed.known_s),
        earlier=_earlier(stretch, feed.reach_s) if stretch.segments else feed.earlier,
        before=stretch.segments[-1] if stretch.segments else feed.before,
        opening=opening,
    )


def _earlier(stretch: Stretch, reach_s: float) -> tuple[Segment, ...]:
    ahead = (stretch.before,) if stretch.before is not None else ()
    return reach_back((*stretch.earlier, *ahead, *stretch.segments), reach_s)[:-1]


def reach_back(run: Sequence[Segment], length_s: float) -> tuple[Segment, ...]:
    """The last one and, in order, what it goes on from, so that there is ``length_s`` together."""
    first = len(run) - 1
    missing_s = length_s - run[first].duration_s
    while missing_s > 0 and first > 0 and len(run) - first <= _MOST_EARLIER:
        if run[first].discontinuity:
            break
        first -= 1
        missing_s -= run[first].duration_s
    return tuple(run[first:])


def begin(
    anchor_s: int,
    bytes_per_s: float,
    sounds: Sequence[Sound] = (),
    form: Form = PLAIN,
    *,
    is_encoded: bool = False,
    heard_s: float = 0.0,
    tile: TileSize = PLAIN_TILE,
) -> PlanState:
    """``sounds``: one per playlist of sound alone; ``heard_s``: of what lies before a chunk."""
    main = Feed(form=form, reach_s=max(heard_s, _GOP_S if is_encoded else 0.0))
    feeds = (main, *(Feed(sound=sound, form=sound.form, reach_s=heard_s) for sound in sounds))
    return PlanState(
        anchor_s=anchor_s,
        bytes_per_s=bytes_per_s,
        is_encoded=is_encoded,
        tile=tile,
        feeds=feeds,
    )


def resume(
    bytes_per_s: float,
    planned: Sequence[ChunkSpec],
    *,
    is_encoded: bool = False,
    heard_s: float = 0.0,
) -> PlanState:
    """The state behind chunks that the ledger knows already, at least one."""
    first = planned[0]
    sounds = [s.sound for s in first.audio if s.sound]
    state = begin(
        first.anchor_s,
        bytes_per_s,
        sounds,
        first.main.form,
        is_encoded=is_encoded,
        heard_s=heard_s,
        tile=first.tile,
    )
    feeds = state.feeds
    for chunk in planned:
        stretches = (chunk.main, *chunk.audio)
        feeds = tuple(behind(feed, s) for feed, s in zip(feeds, stretches, strict=True))
    return replace(state, feeds=feeds, chunks=planned[-1].index + 1)


def extend(
    state: PlanState, new: Sequence[Sequence[Segment]], *, ended: bool
) -> tuple[PlanState, tuple[ChunkSpec, ...]]:
    """Add segments, one sequence per playlist; returns the chunks that are complete now. ``ended``
    completes the last one."""
    main, *sounds = new
    others = (feed.add(segments) for feed, segments in zip(state.feeds[1:], sounds, strict=True))
    state = replace(state, feeds=(state.feeds[0], *others))
    cut: list[ChunkSpec] = []
    # Cutting copies what is left: a few hundred at a time, not hundreds of thousands.
    in_band = state.feeds[0].add(main).form
    for first in range(0, max(1, len(main)), _BATCH_SEGMENTS):
        added = replace(state.feeds[0].add(main[first : first + _BATCH_SEGMENTS]), form=in_band)
        state = replace(state, feeds=(added, *state.feeds[1:]))
        while (count := _full_count(state)) and (ended or _sound_is_known(state, count)):
            state, chunk = _cut(state, count)
            cut.append(chunk)
    if ended:
        state, last = _cut_rest(state)
        cut += last
    return state, tuple(cut)


def _cut_rest(state: PlanState) -> tuple[PlanState, list[ChunkSpec]]:
    """What fills no chunk, at the end. Where pictures are encoded in shorter chunks, so that all
    workers share in what is left to do, whether the stream has just ended or did so long ago."""
    cut: list[ChunkSpec] = []
    while state.is_encoded and (count := _full_count(state, LAST_ENCODED_CHUNK_S)):
        state, chunk = _cut(state, count)
        cut.append(chunk)
    if any(feed.pending for feed in state.feeds):
        state, chunk = _cut(state, None)
        cut.append(chunk)
    return state, cut


def _full_count(state: PlanState, enough_s: float = inf) -> int:
    """How many segments fill a chunk, of which ``enough_s`` do; 0 unless more are known."""
    if state.chunks >= MAX_CHUNKS - 1:
        return 0
    pending = state.feeds[0].pending
    longest_s, most_bytes = MAX_CHUNK_S, target_chunk_bytes(state.chunks)
    if state.is_encoded:
        longest_s, most_bytes = target_encoded_chunk(state.chunks)
    size = length = 0.0
    for count, segment in enumerate(pending[:-1], 1):
        size += _size(state, segment)
        length += segment.duration_s
        is_full = size >= most_bytes or length >= min(longest_s, enough_s)
        if is_full or count >= MAX_CHUNK_SEGMENTS:
            return count
    return 0


def _size(state: PlanState, segment: Segment) -> float:
    if segment.byte_range is not None:
        return segment.byte_range.length
    if segment.size_bytes is not None:
        return segment.size_bytes
    return segment.duration_s * state.bytes_per_s


def _sound_is_known(state: PlanState, count: int) -> bool:
    main = state.feeds[0]
    end_s = main.planned_s + sum(segment.duration_s for segment in main.pending[:count])
    return all(
        feed.known_s - (feed.pending[-1].duration_s if feed.pending else 0.0) >= end_s
        or main.known_s - end_s > MAX_LAG_S
        for feed in state.feeds[1:]
    )


def _cut(state: PlanState, count: int | None) -> tuple[PlanState, ChunkSpec]:
    """Cut ``count`` segments of the main playlist, and the sound beside them; None: all."""
    main, *others = state.feeds
    main, stretch = main.take(len(main.pending) if count is None else count)
    end_s = stretch.start_s + stretch.duration_s
    taken = [f.take(len(f.pending) if count is None else _count_until(f, end_s)) for f in others]
    chunk = ChunkSpec(
        index=state.chunks,
        anchor_s=state.anchor_s,
        main=stretch,
        audio=tuple(stretch for _, stretch in taken),
        tile=state.tile,
    )
    feeds = (main, *(feed for feed, _ in taken))
    return replace(state, chunks=state.chunks + 1, feeds=feeds), chunk


def _count_until(feed: Feed, end_s: float) -> int:
    """How many segments have their middle before ``end_s``."""
    at_s = feed.planned_s
    for count, segment in enumerate(feed.pending):
        if at_s + segment.duration_s / 2 >= end_s:
            return count
        at_s += segment.duration_s
    return len(feed.pending)
