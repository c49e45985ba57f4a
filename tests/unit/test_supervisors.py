"""Which recording gets which actor: what is started, shared, used again and ended."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from actors import supervisors
from actors.supervisors import _OWN_BY_CORE, _SHARED_BY, Supervisors
from pipeline.model import EndReason, Recording, Status
from tests.local_pool import quick_settings

CORES = 3
_OWN = CORES * _OWN_BY_CORE
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Actors:
    """In the place of Ray: ``started`` with their names, ``ended``."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.ended: list[str] = []

    def options(self, name: str = "", **_: Any) -> "Actors":
        self.started.append(name or f"nameless-{len(self.started)}")
        return self

    def remote(self, _: Any) -> str:
        return self.started[-1]

    def kill(self, handle: str, *, no_restart: bool) -> None:
        assert no_restart
        self.ended.append(handle)


@pytest.fixture
def actors(monkeypatch: pytest.MonkeyPatch) -> Iterator[Actors]:
    actors = Actors()
    monkeypatch.setattr(supervisors, "RecordingActor", actors)
    monkeypatch.setattr(supervisors.ray, "kill", actors.kill)
    monkeypatch.setattr(supervisors, "cluster_cpus", lambda: CORES)
    return actors


def live() -> Recording:
    return Recording(
        id=uuid4(),
        stream_id="s",
        stream_key="k",
        source=None,
        status=Status.RECORDING,
        started_at=NOW,
        created_at=NOW,
        updated_at=NOW,
    )


def ended() -> Recording:
    return replace(live(), end_reason=EndReason.EVENT)


def test_the_first_live_streams_have_their_own(actors: Actors) -> None:
    made = Supervisors(quick_settings())
    recordings = [live() for _ in range(_OWN)]
    assert not any(made.has_room(recording) for recording in recordings)
    handles = [made.start(recording) for recording in recordings]
    assert handles == [f"recording:{recording.id}" for recording in recordings]
    made.end(handles[0], is_well=True)
    assert actors.ended == [handles[0]]
    assert made.start(another := live()) == f"recording:{another.id}"


def test_the_others_share(actors: Actors) -> None:
    made = Supervisors(quick_settings())
    for _ in range(_OWN):
        made.start(live())
    assert not made.has_room(live())
    first = [made.start(live()) for _ in range(_SHARED_BY)]
    assert len(set(first)) == 1
    assert not made.has_room(live())
    second = made.start(live())
    assert second not in first
    assert made.has_room(live())
    for handle in first[1:]:
        made.end(handle, is_well=True)
    assert actors.ended == []
    made.end(second, is_well=True)
    # Who is done waits for a stream that has ended.
    assert made.start(ended()) == second
    assert len(actors.started) == _OWN + 2


def test_one_that_is_not_well_gets_no_other_recording(actors: Actors) -> None:
    made = Supervisors(quick_settings())
    for _ in range(_OWN):
        made.start(live())
    shared, same = made.start(live()), made.start(live())
    assert shared == same
    made.end(shared, is_well=False)
    assert made.start(live()) != shared
    assert actors.ended == []
    made.end(shared, is_well=False)
    assert actors.ended == [shared]


def test_streams_that_have_ended_use_processes_again(actors: Actors) -> None:
    made = Supervisors(quick_settings())
    made.keep_ready()
    assert made.has_room(ended())
    first, second = made.start(ended()), made.start(ended())
    assert first == "nameless-0"
    assert not made.has_room(ended())
    made.end(first, is_well=True)
    made.end(second, is_well=True)
    assert actors.ended == [second]
    assert made.start(ended()) == first
