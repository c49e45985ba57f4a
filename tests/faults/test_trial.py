"""What may be missing is what nobody could have captured, and not a segment more."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.faults.judge import without
from tests.faults.kills import Done, Fault
from tests.faults.prepared import Prepared
from tests.faults.publisher import Script, Shown
from tests.faults.trial import LOOK_S, MARGIN_S, Show
from tests.media import Form, make_hls

SEGMENT_S = 4.0
WINDOW = 6


def shown(window: int | None = WINDOW, *, web: Any = None) -> Show:
    """Sixty segments, one each 4 s from 0 s on."""
    published = [
        Shown(run=0, sequence=n, name=str(n), duration_s=SEGMENT_S, at=n * SEGMENT_S)
        for n in range(60)
    ]
    channel: Any = SimpleNamespace(script=Script(runs=(), window=window), published=published)
    live: Any = None
    return Show(name="it", live=live, channel=channel, web=web)


def out(what: str, began: float, seconds: float, manner: str = "down") -> Done:
    fault = Fault(at_s=began, what=what, manner=manner, seconds=seconds)
    return Done(fault=fault, late_s=0, began=began, over=began + seconds, pids=frozenset({1}))


@pytest.mark.parametrize(
    ("done", "first", "behind"),
    [
        # A segment is listed for 24 s, and half of that is left after the outage; one that came
        # just before it may not have been seen.
        (out("s3", 100, 60), (100 - LOOK_S) // 4, (160 + MARGIN_S - 24) // 4 + 1),
        (out("everything", 100, 60, ""), (100 - LOOK_S) // 4, (160 + MARGIN_S - 24) // 4 + 1),
        (out("s3", 100, 7), 0, 0),
        (out("postgres", 100, 60), 0, 0),
        (out("capture", 100, 60, ""), 0, 0),
    ],
)
def test_what_may_be_lost(done: Done, first: float, behind: float) -> None:
    assert shown().may_be_lost([done]) == set(range(int(first), int(behind)))
    assert shown(None).may_be_lost([done]) == set()


def test_on_the_web_the_bucket_is_no_matter() -> None:
    web = object()
    assert shown(web=web).may_be_lost([out("s3", 100, 60)]) == set()
    assert shown(web=web).may_be_lost([out("raylet", 100, 60, "")])


def test_one_soon_after_the_other() -> None:
    both = [out("everything", 130, 20, ""), out("s3", 100, 25)]
    alone = shown().may_be_lost(both[:1]) | shown().may_be_lost(both[1:])
    assert alone < shown().may_be_lost(both)


def test_what_is_left_without_them(tmp_path: Path) -> None:
    playlist = make_hls(tmp_path / "stream", Form(seconds=12))
    names = [entry.path.name for entry in Prepared(playlist).entries]
    assert without(playlist, set(), tmp_path) == [playlist]
    runs = without(playlist, {0, 2, 3}, tmp_path / "left")
    left = [[entry.path.name for entry in Prepared(run).entries] for run in runs]
    assert left == [names[1:2], names[4:]]
