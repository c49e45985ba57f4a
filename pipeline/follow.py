"""What is new in a reloaded playlist: a pure fold over its states (RFC 8216 6.2.1, 6.3.4)."""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from pipeline.errors import SourceForbidden
from pipeline.media.playlist import MediaPlaylist
from pipeline.model import InitSection, Segment, SegmentKey
from pipeline.source import Source
from pipeline.uris import unsigned

# A cache may serve a state that is a few segments old; farther back the encoder has started anew.
STALE_SEGMENTS = 3
# More that is not listed any more is no window that slid: the numbers were set.
MOST_MISSED_SEGMENTS = 1000
# A bucket lists a folder as a whole: worth it for many segments that are much of it, not for five
# minutes of twelve hours.
_LIST_ABOVE_SEGMENTS, _LIST_SHARE = 20, 4
_KNOWN_SEGMENTS = 16
_NEAR_END = 4 * _KNOWN_SEGMENTS
_CLOCKS_APART_S = 10.0
# Before this no encoder's clock is set: each of its lives begins at the same time.
_CLOCK_IS_SET = datetime(2020, 1, 1, tzinfo=UTC)
# So much of the way back may the dates of segments be off what their durations come to.
_UNEVEN = 0.1
# More than a chunk may take to be full.
LONG_WINDOW_S = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """``next_sequence``: the first media sequence number that was not taken yet; ``known``: the
    last ones before it, as they were listed. ``begins_anew``: what comes first is another life of
    the encoder. ``ahead``, ``eras_ahead``: by how much the numbers of segments and of
    discontinuities under which they are taken are greater than the listed ones (see ``recount``).
    """

    next_sequence: int | None = None
    known: tuple[Segment, ...] = ()
    begins_anew: bool = False
    ahead: int = 0
    eras_ahead: int = 0


def recount(state: Followed, playlist: MediaPlaylist) -> tuple[Followed, MediaPlaylist]:
    """The playlist with the numbers that it should have: of some, the window slides while
    EXT-X-MEDIA-SEQUENCE is missing or stays, or EXT-X-DISCONTINUITY leaves it uncounted. What was
    listed before tells."""
    moved = _moved(playlist, state.ahead, state.eras_ahead)
    slid = _slid(state.known, moved)
    moved = _moved(moved, slid, 0)
    pairs = _pairs(state.known, moved)
    uncounted = pairs[0][0].era - pairs[0][1].era if pairs and not _differs(pairs, moved) else 0
    counted = replace(state, ahead=state.ahead + slid, eras_ahead=state.eras_ahead + uncounted)
    return counted, _moved(moved, 0, uncounted)


def _moved(playlist: MediaPlaylist, by: int, eras: int) -> MediaPlaylist:
    if not by and not eras:
        return playlist
    segments = (replace(s, sequence=s.sequence + by, era=s.era + eras) for s in playlist.segments)
    return replace(playlist, segments=tuple(segments))


def _slid(known: Sequence[Segment], playlist: MediaPlaylist) -> int:
    """By how many segments a window has moved whose numbers have not: those that were taken are
    listed under other ones, and under theirs is something else."""
    pairs = _pairs(known, playlist)
    if not pairs or any(_name(one) == _name(now) for one, now in pairs):
        return 0
    by_name, listed = _places(known), _places(playlist.segments)
    found = {by_name[name] - listed[name] for name in by_name.keys() & listed.keys()}
    found = found or _moved_dates(known, playlist.segments[-_NEAR_END:])
    return found.pop() if len(found) == 1 else 0


def _pairs(known: Sequence[Segment], playlist: MediaPlaylist) -> list[tuple[Segment, Segment]]:
    """What was taken, and what is listed under the same number."""
    if not known:
        return []
    begin = bisect_left(playlist.segments, known[0].sequence, key=_number)
    listed = {segment.sequence: segment for segment in playlist.segments[begin:]}
    return [(one, listed[one.sequence]) for one in known if one.sequence in listed]


def _number(segment: Segment) -> int:
    return segment.sequence


def _places(segments: Sequence[Segment]) -> dict[str, int]:
    """The number of each name that is there once."""
    counts = Counter(map(_name, segments))
    return {name: s.sequence for s in segments if counts[name := _name(s)] == 1}


def _moved_dates(known: Sequence[Segment], listed: Sequence[Segment]) -> set[int]:
    """The same by EXT-X-PROGRAM-DATE-TIME, where names are signed anew."""
    return {
        one.sequence - now.sequence
        for one in known
        for now in listed
        if one.program_date_time
        and now.program_date_time
        and 2 * abs(one.program_date_time - now.program_date_time).total_seconds()
        < min(one.duration_s, now.duration_s)
    }


def take_new(
    state: Followed, playlist: MediaPlaylist, *, may_restart: bool = True
) -> tuple[Followed, tuple[Segment, ...]]:
    """Segments that were not taken before, in order, of a playlist that counts as ``recount`` does.

    ``may_restart``: whether an encoder that has started anew still belongs to this broadcast.
    """
    if not playlist.segments:
        return state, ()
    behind = playlist.segments[-1].sequence + 1
    taken = replace(
        state, next_sequence=behind, known=playlist.segments[-_KNOWN_SEGMENTS:], begins_anew=False
    )
    if state.next_sequence is None and not state.begins_anew:
        return taken, playlist.segments
    went_back = behind < (state.next_sequence or 0) - STALE_SEGMENTS
    went_back = went_back and not _is_older(state.known, playlist)
    if state.begins_anew or went_back or _differs(_pairs(state.known, playlist), playlist):
        if not may_restart:
            return state, ()
        restarted = replace(playlist.segments[0], discontinuity=True)
        return taken, (restarted, *playlist.segments[1:])
    assert state.next_sequence is not None
    if behind <= state.next_sequence:
        return state, ()
    new = tuple(s for s in playlist.segments if s.sequence >= state.next_sequence)
    return taken, (*_missed(state.next_sequence, playlist), *new)


def _is_older(known: Sequence[Segment], playlist: MediaPlaylist) -> bool:
    """Whether EXT-X-PROGRAM-DATE-TIME tells that this is how the playlist was a while ago: a cache
    that is far behind, and no encoder that has started anew."""
    one, now = (known[-1] if known else None), playlist.segments[-1]
    if one is None or one.program_date_time is None or now.program_date_time is None:
        return False
    each_s = sum(segment.duration_s for segment in known) / len(known)
    meant_s = (one.sequence - now.sequence) * each_s
    apart_s = (one.program_date_time - now.program_date_time).total_seconds()
    slack_s = _CLOCKS_APART_S + playlist.target_duration_s + _UNEVEN * meant_s
    return abs(apart_s - meant_s) <= slack_s and now.program_date_time >= _CLOCK_IS_SET


def _differs(pairs: Sequence[tuple[Segment, Segment]], playlist: MediaPlaylist) -> bool:
    """Whether numbers that were taken all stand for something else now."""
    apart = timedelta(seconds=_CLOCKS_APART_S + playlist.target_duration_s)
    return bool(pairs) and all(_is_another(one, now, apart) for one, now in pairs)


def _is_another(one: Segment, now: Segment, apart: timedelta) -> bool:
    """By its name, not by where that lies: hosts, folders and queries may be signed anew."""
    if one.program_date_time and now.program_date_time:
        return abs(one.program_date_time - now.program_date_time) > apart
    return _name(one) != _name(now)


def _name(segment: Segment) -> str:
    return unsigned(segment.uri).rpartition("/")[2]


def _missed(next_sequence: int, playlist: MediaPlaylist) -> tuple[Segment, ...]:
    """In place of segments that left the live window unread: gaps, as long as those that are there
    are on average."""
    first = playlist.segments[0]
    count = first.sequence - next_sequence
    if not 0 < count <= MOST_MISSED_SEGMENTS:
        return ()
    each_s = sum(segment.duration_s for segment in playlist.segments) / len(playlist.segments)
    clock = first.program_date_time
    return tuple(
        Segment(
            sequence=first.sequence - back,
            uri="",
            duration_s=each_s,
            era=first.era,
            program_date_time=clock and clock - timedelta(seconds=back * each_s),
            is_gap=True,
            gap_reason="it left the live window before it could be read",
        )
        for back in range(count, 0, -1)
    )


def first_lasting(playlist: MediaPlaylist, ref: str) -> float:
    """The media sequence number from which on segments will still be there, under the same
    addresses, when their chunk is full; infinite if none will.

    What the web serves may be signed anew at each reload. In a bucket, a long playlist keeps for
    long what is not at its beginning. One that only grows says that it keeps all of it; but an
    encoder that starts anew writes over its first segments, and whatever it lists is soon as long.
    """
    if playlist.ended:
        return -math.inf
    if urlsplit(ref).scheme in ("http", "https"):
        return math.inf
    before_s = 0.0
    for segment in playlist.segments:
        if before_s >= LONG_WINDOW_S:
            return segment.sequence
        before_s += segment.duration_s
    return math.inf


def locate(segments: Sequence[Segment], source: Source, *, among: int = 0) -> list[Segment]:
    """Segments with references that hold without their playlist and, where many come at once,
    their sizes. ``among``: how many the playlist lists; sizes are told of all or of none."""
    many = max(_LIST_ABOVE_SEGMENTS, among // _LIST_SHARE)
    sizes = source.sizes() if len(segments) > many else {}
    return [absolute(segment, source, sizes) for segment in segments]


def absolute(segment: Segment, source: Source, sizes: Mapping[str, int]) -> Segment:
    """The segment with a reference of its own; a gap if its playlist may not point there."""
    init = segment.init
    try:
        ref = source.resolve(segment.uri)
        key = _absolute_key(segment.key, source)
        if init is not None:
            init = InitSection(
                uri=source.resolve(init.uri),
                byte_range=init.byte_range,
                key=_absolute_key(init.key, source),
            )
    except SourceForbidden as error:
        return replace(segment, uri="", init=None, key=None, is_gap=True, gap_reason=str(error))
    return replace(segment, uri=ref, init=init, key=key, size_bytes=sizes.get(ref))


def _absolute_key(key: SegmentKey | None, source: Source) -> SegmentKey | None:
    return key and replace(key, uri=source.resolve(key.uri))
