"""Random kills and outages during live recordings, by a seed: everything completes, nothing is lost
but what nobody could have captured, nothing is there twice, nothing is left behind.

``VODRAY_FAULT_SEED`` makes the plans of an earlier run again; a failure prints it.
"""

import os
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.world import World
from tests.faults.acts import Chance
from tests.faults.judge import left_in_ledger
from tests.faults.kills import VITAL, Done, Fault, plan
from tests.faults.origin import WebOrigin, web_origin
from tests.faults.prepared import long_stream
from tests.faults.trial import shows
from tests.faults.world import FaultyService, faulty_service, nothing_is_left

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]
SEED = int(os.environ.get("VODRAY_FAULT_SEED") or random.SystemRandom().randrange(10**6))
SECONDS = 240
PARTS = 5
KILLS = 10
OUTAGES = 2
SPOILED = 0.02


@dataclass(frozen=True, kw_only=True)
class Place:
    service: FaultyService
    world: World
    origin: WebOrigin
    # What the service runs when it has nothing to do.
    idle: Counter[str]


@pytest.fixture(scope="module")
def playlist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return long_stream(tmp_path_factory.mktemp("stream"), SECONDS)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("soak")
    with (
        web_origin(signed_s=20) as origin,
        faulty_service(folder, ALLOWED_SOURCE_HOSTS=origin.host, STALL_TIMEOUT="90s") as service,
        closing(service.world()) as world,
    ):
        yield Place(service=service, world=world, origin=origin, idle=service.actors())


@pytest.mark.parametrize("part", range(PARTS))
def test_processes_are_killed(part: int, place: Place, playlist: Path, tmp_path: Path) -> None:
    faults = plan(SEED * PARTS + part, SECONDS * 0.8, kills=KILLS, outages=0)
    done = run(faults, place, playlist, tmp_path)
    assert [str(one) for one in done if one.fault.what in VITAL and not one.alone] == []
    assert sum(bool(one.pids) for one in done) >= KILLS - 1


@pytest.mark.parametrize("part", range(PARTS))
def test_servers_are_out(part: int, place: Place, playlist: Path, tmp_path: Path) -> None:
    """Beside that, the store spoils one request of fifty all the time."""
    seed = SEED * PARTS + part
    to_s3 = place.service.servers.to_s3
    to_s3.script(Chance(seed=seed, probability=SPOILED))
    try:
        faults = plan(seed, SECONDS * 0.8, kills=0, outages=OUTAGES)
        run(faults, place, playlist, tmp_path)
        print(f"{len(to_s3.spoiled)} requests spoiled")
    finally:
        to_s3.script()


def run(faults: Sequence[Fault], place: Place, playlist: Path, folder: Path) -> list[Done]:
    print(f"VODRAY_FAULT_SEED={SEED}")
    service = place.service
    with shows(place.world, playlist, place.origin, folder) as streams:
        done = service.trouble(SEED).run(faults)
        print(*done, sep="\n")
    give_up = time.monotonic() + 240
    wrong = [
        problem
        for stream in streams
        if (problem := stream.judge(done, folder, within_s=max(30, give_up - time.monotonic())))
    ]
    assert wrong == []
    nothing_is_left(
        lambda: place.service.left_behind(place.idle) + left_in_ledger(place.world), within_s=90
    )
    return done
