"""What is new in a reloaded playlist: a pure fold over its states (RFC 8216 6.2.1, 6.3.4)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from urllib.parse import urlsplit

from pipeline.errors import SourceForbidden
from pipeline.media.playlist import MediaPlaylist
from pipeline.model import InitSection, Segment, SegmentKey
from pipeline.source import Source

# A cache may serve a state that is a few segments old; farther back the encoder has started anew.
STALE_SEGMENTS = 3
# More that is not listed any more is no window that slid: the numbers were set.
MOST_MISSED_SEGMENTS = 1000
# A bucket lists a folder as a whole: worth it for many segments that are much of it, not for five
# minutes of twelve hours.
_LIST_ABOVE_SEGMENTS, _LIST_SHARE = 20, 4
_KNOWN_SEGMENTS = 16
_CLOCKS_APART_S = 10.0
# More than a chunk may take to be full.
LONG_WINDOW_S = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """``next_sequence``: the first media sequence number that was not taken yet; ``known``: the
    last ones before it, as they were listed. ``begins_anew``: what comes first is another life of
    the encoder."""

    next_sequence: int | None = None
    known: tuple[Segment, ...] = ()
    begins_anew: bool = False


def take_new(
    state: Followed, playlist: MediaPlaylist, *, may_restart: bool = True
) -> tuple[Followed, tuple[Segment, ...]]:
    """Segments that were not taken before, in order.

    ``may_restart``: whether an encoder that has started anew still belongs to this broadcast.
    """
    if not playlist.segments:
        return state, ()
    behind = playlist.segments[-1].sequence + 1
    taken = Followed(next_sequence=behind, known=playlist.segments[-_KNOWN_SEGMENTS:])
    if state.next_sequence is None and not state.begins_anew:
        return taken, playlist.segments
    went_back = behind < (state.next_sequence or 0) - STALE_SEGMENTS
    if state.begins_anew or went_back or _differs(state.known, playlist):
        if not may_restart:
            return state, ()
        restarted = replace(playlist.segments[0], discontinuity=True)
        return taken, (restarted, *playlist.segments[1:])
    assert state.next_sequence is not None
    if behind <= state.next_sequence:
        return state, ()
    new = tuple(s for s in playlist.segments if s.sequence >= state.next_sequence)
    return taken, (*_missed(state.next_sequence, playlist), *new)


def _differs(known: Sequence[Segment], playlist: MediaPlaylist) -> bool:
    """Whether numbers that were taken all stand for something else now."""
    listed = {segment.sequence: segment for segment in playlist.segments}
    pairs = [(one, listed[one.sequence]) for one in known if one.sequence in listed]
    apart = timedelta(seconds=_CLOCKS_APART_S + playlist.target_duration_s)
    return bool(pairs) and all(_is_another(one, now, apart) for one, now in pairs)


def _is_another(one: Segment, now: Segment, apart: timedelta) -> bool:
    """By its name, not by where that lies: hosts, folders and queries may be signed anew."""
    if one.program_date_time and now.program_date_time:
        return abs(one.program_date_time - now.program_date_time) > apart
    return _name(one) != _name(now)


def _name(segment: Segment) -> str:
    return segment.uri.partition("?")[0].rpartition("/")[2]


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
