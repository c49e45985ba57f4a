"""How a recording begins: what is looked at, and on which clock each playlist is."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pipeline.begin import Search, Seen, align
from pipeline.errors import MediaInvalid, SourceUnavailable
from pipeline.model import FirstLook, Form, PictureForm, Segment, Sound
from pipeline.timebase import TS_WRAP_S

DATE = datetime(2026, 1, 1, tzinfo=UTC)
SOUND = Sound(name="en")


def segment(number: int, *, date_s: float | None = None) -> Segment:
    date = None if date_s is None else DATE + timedelta(seconds=date_s)
    return Segment(sequence=number, uri=f"{number}.ts", duration_s=6.0, program_date_time=date)


def look(
    begin_s: float, *, wraps: bool = True, is_timed: bool = True, pictures: bool = False
) -> FirstLook:
    return FirstLook(
        begin_s=begin_s,
        wraps=wraps,
        is_timed=is_timed,
        streams=(),
        bytes_per_s=1000.0,
        form=Form(video="h264"),
        pictures=PictureForm(width=64, height=36) if pictures else None,
    )


def seen(
    begin_s: float, *, before_s: float = 0.0, date_s: float | None = None, **more: bool
) -> Seen:
    return Seen(segment=segment(0, date_s=date_s), look=look(begin_s, **more), before_s=before_s)


@pytest.mark.parametrize(
    ("own", "main", "shift_s", "begin_s"),
    [
        # One clock, however much earlier or later the sound begins.
        (seen(100), seen(100), 0, 100),
        (seen(103), seen(100), 0, 100),
        (seen(94), seen(100), 0, 94),
        # What its first segments would have held cannot be read.
        (seen(112, before_s=12), seen(100), 0, 100),
        (seen(100), seen(112, before_s=12), 0, 100),
        (seen(100, before_s=600), seen(700, before_s=1200), 0, 100),
        # A window that reaches farther back, by its dates.
        (seen(80, date_s=0), seen(100, date_s=20), 0, 80),
        (seen(80, date_s=0), seen(100, date_s=0), 20, 100),
        # Another clock: both begin together, or as their dates tell.
        (seen(5000), seen(100), -4900, 100),
        (seen(5012, before_s=12), seen(100), -4900, 100),
        (seen(5000, date_s=4), seen(100, date_s=0), -4896, 100),
        (seen(5000, date_s=0), seen(100, date_s=4), -4904, 96),
        # Dates that cannot be.
        (seen(100, date_s=-1e8), seen(100, date_s=0), 0, 100),
        # A clock that goes round between them.
        (seen(1), seen(float(TS_WRAP_S) - 1), 0, float(TS_WRAP_S) - 1),
        (seen(float(TS_WRAP_S) - 1), seen(1), 0, -1),
        # No time at all: it is where its playlist says, counted from the anchor.
        (seen(0, wraps=False, is_timed=False), seen(100.25), 0.25, 100.25),
        (seen(0, wraps=False, is_timed=False, before_s=12), seen(7.25), 12.25, 7.25),
        (None, seen(100), 0, 100),
    ],
)
def test_sound_is_put_on_the_clock_of_the_pictures(
    own: Seen | None, main: Seen, shift_s: float, begin_s: float
) -> None:
    moved, (sound,) = align(main, [(SOUND, own)])
    assert sound.name == "en"
    assert sound.shift_s == pytest.approx(shift_s, abs=1e-3)
    assert moved.look.begin_s == pytest.approx(begin_s, abs=1e-3)


def test_the_clock_begins_with_the_earliest_of_all() -> None:
    untimed = seen(0, wraps=False, is_timed=False)
    moved, sounds = align(
        seen(100.5), [(SOUND, seen(97.25)), (SOUND, untimed), (SOUND, seen(95)), (SOUND, None)]
    )
    assert (moved.look.begin_s, moved.look.anchor_s) == (95, 95)
    assert [sound.shift_s for sound in sounds] == [0, 5.5, 0, 0]


def told(search: Search, looks: dict[int, FirstLook | Exception], count: int) -> list[int]:
    """Which of the first ``count`` segments it looks at."""
    asked = []
    for each in search.among([segment(number) for number in range(count)]):
        asked.append(each.sequence)
        found = looks[each.sequence]
        if isinstance(found, FirstLook):
            search.found(each, found)
        else:
            search.failed(each, found)
    return asked


def test_the_first_that_can_be_read_tells() -> None:
    search = Search()
    looks = {0: MediaInvalid("no"), 1: SourceUnavailable("away"), 2: look(112, pictures=True)}
    assert told(search, looks, 4) == [0, 1, 2]
    found = search.result("it")
    assert (found.segment.sequence, found.look.begin_s, found.before_s) == (2, 112, 12)
    assert not found.lacks_pictures
    # Nothing more has to be known.
    assert told(search, looks, 5) == []


def test_pictures_that_come_later_are_looked_for() -> None:
    search = Search(needs_pictures=True)
    early, late = look(100), replace(look(118, pictures=True), bytes_per_s=9e5)
    looks = {0: early, 1: MediaInvalid("no"), 2: early, 3: late}
    assert told(search, looks, 3) == [0, 1, 2]
    assert search.result("it").lacks_pictures
    assert told(search, looks, 4) == [1, 3]
    found = search.result("it")
    assert (found.segment.sequence, found.look.begin_s, found.before_s) == (0, 100, 0)
    assert found.look.pictures == late.pictures
    assert found.look.bytes_per_s == 9e5


def test_pictures_that_nothing_depends_on_are_not_looked_for_for_ever() -> None:
    looks = dict.fromkeys(range(100), look(100))
    assert told(Search(), looks, 100) == list(range(16))
    assert told(Search(needs_pictures=True), looks, 100) == list(range(100))


def test_nothing_that_can_be_read() -> None:
    search = Search()
    told(search, {0: MediaInvalid("it is text")}, 1)
    with pytest.raises(SourceUnavailable, match="No segment of it can be read: it is text"):
        search.result("it")
