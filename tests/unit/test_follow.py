"""What is new in a reloaded playlist, and when the stream has ended."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.follow import STALE_SEGMENTS, Followed, absolute, locate, recount, take_new
from pipeline.media.playlist import MediaPlaylist
from pipeline.model import InitSection, Segment
from pipeline.source import FileSource


def window(first: int, count: int) -> MediaPlaylist:
    segments = tuple(
        Segment(sequence=n, uri=f"{n}.ts", duration_s=2.0) for n in range(first, first + count)
    )
    return MediaPlaylist(segments=segments, target_duration_s=2.0, ended=False)


def follow(*states: MediaPlaylist) -> list[list[int]]:
    """Sequence numbers by state, those of gaps below zero."""
    followed, taken = Followed(), []
    for listed in states:
        followed, state = recount(followed, listed)
        followed, new = take_new(followed, state)
        taken.append([-s.sequence if s.is_gap else s.sequence for s in new])
    return taken


@pytest.mark.parametrize(
    ("states", "taken"),
    [
        ([window(0, 3), window(1, 3), window(3, 3)], [[0, 1, 2], [3], [4, 5]]),
        ([window(7, 2), window(7, 2)], [[7, 8], []]),
        ([window(0, 0), window(5, 1)], [[], [5]]),
        # The window slid past us: what left it unread is a gap.
        ([window(0, 2), window(4, 2)], [[0, 1], [-2, -3, 4, 5]]),
        # The numbers were set ahead.
        ([window(0, 2), window(50_000, 2)], [[0, 1], [50_000, 50_001]]),
        # A cache serves an old state: wait.
        ([window(0, 6), window(0, 6 - STALE_SEGMENTS), window(2, 6)], [[*range(6)], [], [6, 7]]),
        # The encoder has started anew.
        ([window(100, 3), window(0, 2), window(0, 3)], [[100, 101, 102], [0, 1], [2]]),
    ],
)
def test_each_segment_is_taken_once(states: list[MediaPlaylist], taken: list[list[int]]) -> None:
    assert follow(*states) == taken


def test_an_encoder_that_starts_anew_breaks_the_timeline() -> None:
    followed, _ = take_new(Followed(), window(100, 3))
    _, new = take_new(followed, window(0, 2))
    assert [s.discontinuity for s in new] == [True, False]


def renamed(state: MediaPlaylist, prefix: str, suffix: str = "") -> MediaPlaylist:
    segments = (replace(s, uri=f"{prefix}{s.uri}{suffix}") for s in state.segments)
    return replace(state, segments=tuple(segments))


def dated(state: MediaPlaylist, hour: int) -> MediaPlaylist:
    begin = datetime(2026, 1, 1, hour, tzinfo=UTC)
    segments = (
        replace(s, program_date_time=begin + timedelta(seconds=2 * s.sequence))
        for s in state.segments
    )
    return replace(state, segments=tuple(segments))


@pytest.mark.parametrize(
    ("states", "taken"),
    [
        # Numbers that were taken already stand for something else: a short first life.
        ([window(0, 4), renamed(window(0, 2), "b")], [[0, 1, 2, 3], [0, 1]]),
        ([window(0, 4), renamed(window(0, 6), "b")], [[0, 1, 2, 3], [*range(6)]]),
        ([dated(window(0, 4), 1), dated(window(0, 6), 2)], [[0, 1, 2, 3], [*range(6)]]),
        # Addresses that are signed anew, another host: the same segments.
        ([window(0, 4), renamed(window(0, 5), "http://h/t=1/", "?x=2")], [[0, 1, 2, 3], [4]]),
        ([dated(window(0, 4), 1), dated(renamed(window(0, 5), "b"), 1)], [[0, 1, 2, 3], [4]]),
    ],
)
def test_another_life_is_told_by_what_the_numbers_stand_for(
    states: list[MediaPlaylist], taken: list[list[int]]
) -> None:
    assert follow(*states) == taken


def counted_from(state: MediaPlaylist, number: int) -> MediaPlaylist:
    """The same segments, whatever their numbers were."""
    segments = (replace(s, sequence=number + n) for n, s in enumerate(state.segments))
    return replace(state, segments=tuple(segments))


def signed_in_name(state: MediaPlaylist, token: str) -> MediaPlaylist:
    segments = (replace(s, uri=f"{token}-{s.sequence}-{token}.ts") for s in state.segments)
    return replace(state, segments=tuple(segments))


SLIDING = [window(0, 4), window(2, 4), window(3, 4), window(3, 4), window(5, 4)]
SLID = [[0, 1, 2, 3], [4, 5], [6], [], [7, 8]]


@pytest.mark.parametrize("first", [0, 7])
@pytest.mark.parametrize("hour", [None, 1])
@pytest.mark.parametrize("suffix", ["", "?t={}", ";t={}", ";t={}?u={}"])
def test_a_window_that_slides_and_keeps_its_number(
    first: int, hour: int | None, suffix: str
) -> None:
    """Without EXT-X-MEDIA-SEQUENCE, or with one that stays, each segment is taken once all the
    same."""
    states = [
        counted_from(renamed(dated(state, hour) if hour else state, "", suffix.format(n, n)), first)
        for n, state in enumerate(SLIDING)
    ]
    assert follow(*states) == [[first + n for n in numbers] for numbers in SLID]


def test_a_window_that_keeps_its_number_and_has_new_names_is_told_by_its_dates() -> None:
    states = [
        counted_from(signed_in_name(dated(state, 1), f"t{n}"), 0) for n, state in enumerate(SLIDING)
    ]
    assert follow(*states) == SLID


def test_an_older_state_of_a_window_that_keeps_its_number() -> None:
    states = [counted_from(state, 0) for state in (window(0, 4), window(2, 4), window(0, 4))]
    assert follow(*states, counted_from(window(3, 4), 0)) == [[0, 1, 2, 3], [4, 5], [], [6]]


def test_names_that_come_again_tell_nothing() -> None:
    """A slate between the others; a name that is used for all of them."""
    slate = [replace(s, uri="black.ts") for s in window(0, 8).segments]
    own = window(0, 8).segments
    segments = [own[0], slate[1], own[2], slate[3], own[4], slate[5], own[6], slate[7]]
    states = [
        counted_from(replace(window(0, 1), segments=tuple(segments[n : n + 4])), 0)
        for n in range(4)
    ]
    assert follow(*states) == [[0, 1, 2, 3], [4], [5], [6]]
    alike = [renamed(window(n, 4), "all.ts?n=") for n in range(3)]
    assert follow(*alike) == [[0, 1, 2, 3], [4], [5]]


def in_eras(state: MediaPlaylist, *eras: int) -> MediaPlaylist:
    segments = (replace(s, era=era) for s, era in zip(state.segments, eras, strict=True))
    return replace(state, segments=tuple(segments))


def test_discontinuities_that_leave_the_window_uncounted_still_count() -> None:
    followed, taken = Followed(), []
    for listed in (
        in_eras(window(0, 3), 0, 0, 1),
        in_eras(window(1, 3), 0, 1, 1),
        in_eras(window(2, 3), 0, 0, 1),
        in_eras(window(4, 2), 0, 0),
    ):
        followed, state = recount(followed, listed)
        followed, new = take_new(followed, state)
        taken += [segment.era for segment in new]
    assert taken == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("states", "taken"),
    [
        # A cache that is far behind shows dates that were taken; it is waited for.
        (
            [dated(window(0, 30), 1), dated(window(0, 12), 1), dated(window(27, 6), 1)],
            [[*range(30)], [], [30, 31, 32]],
        ),
        ([dated(window(90, 6), 1), dated(window(60, 6), 1)], [[*range(90, 96)], []]),
        # An encoder that starts anew has dates of its own.
        ([dated(window(90, 6), 1), dated(window(0, 2), 2)], [[*range(90, 96)], [0, 1]]),
        ([dated(window(90, 6), 1), dated(window(0, 2), 0)], [[*range(90, 96)], [0, 1]]),
    ],
)
def test_dates_tell_a_cache_that_is_far_behind_from_another_life(
    states: list[MediaPlaylist], taken: list[list[int]]
) -> None:
    assert follow(*states) == taken


def test_a_clock_that_was_never_set_tells_nothing() -> None:
    """Each life of such an encoder begins on the same day."""

    def unset(state: MediaPlaylist) -> MediaPlaylist:
        begin = datetime(1970, 1, 1, tzinfo=UTC)
        segments = (
            replace(s, program_date_time=begin + timedelta(seconds=2 * s.sequence))
            for s in state.segments
        )
        return replace(state, segments=tuple(segments))

    assert follow(unset(window(0, 30)), unset(window(0, 3))) == [[*range(30)], [0, 1, 2]]


def test_another_life_that_is_known_of_is_taken_from_its_start() -> None:
    _, new = take_new(Followed(begins_anew=True), window(0, 2))
    assert [(s.sequence, s.discontinuity) for s in new] == [(0, True), (1, False)]


def test_references_become_absolute(tmp_path: Path) -> None:
    source = FileSource(tmp_path / "stream.m3u8")
    segment = Segment(sequence=0, uri="a%20b.ts", duration_s=2.0, init=InitSection(uri="init.mp4"))
    ref = (tmp_path.resolve() / "a b.ts").as_uri()
    found = absolute(segment, source, {ref: 77})
    assert (found.uri, found.size_bytes) == (ref, 77)
    assert found.init == InitSection(uri=(tmp_path.resolve() / "init.mp4").as_uri())


def test_an_address_that_may_not_be_read_is_a_gap_that_says_so(tmp_path: Path) -> None:
    source = FileSource(tmp_path / "stream.m3u8")
    found = absolute(Segment(sequence=0, uri="../x.ts", duration_s=2.0), source, {})
    assert (found.uri, found.is_gap) == ("", True)
    assert "points outside its folder" in found.gap_reason


@pytest.mark.parametrize(
    ("new", "among", "is_known"),
    [(100, 100, True), (21, 83, True), (21, 84, False), (20, 20, False), (75, 10_800, False)],
)
def test_sizes_are_asked_for_where_much_is_new(
    new: int, among: int, is_known: bool, tmp_path: Path
) -> None:
    (tmp_path / "0.ts").write_bytes(b"1234")
    source = FileSource(tmp_path / "stream.m3u8")
    located = locate(window(0, new).segments, source, among=among)
    assert located[0].size_bytes == (4 if is_known else None)
