"""Whatever is sent, the real service's answers are those that the OpenAPI document promises."""

from collections.abc import Callable
from typing import Any

import pytest
import schemathesis

from tests.e2e.world import Broadcast, World
from tests.media import Form
from tests.media_fixtures import Clips
from tests.promised import CHECKS, each_operation, known_ids, try_cases

pytestmark = pytest.mark.timeout(280)
Prepare = Callable[[schemathesis.Case], None]


@pytest.fixture(scope="module")
def prepare(world: World, clips: Clips) -> Prepare:
    ended = Broadcast(world=world, playlist=clips(Form(seconds=6)))
    ended.show(ended=True)
    ended.tell("ended")
    recording = ended.completed()
    video = {"recording_id": recording["id"], "title": "x", "visibility": "public"}
    answer = world.http.post("/import-recording", json=video)
    assert answer.status_code == 201
    return known_ids(recording["id"], answer.json()["video"]["id"])


@pytest.fixture(scope="module")
def served(world: World) -> Any:
    return schemathesis.openapi.from_url(f"{world.endpoints['http']}/openapi.json")


@each_operation
def test_answers_are_promised(method: str, path: str, served: Any, prepare: Prepare) -> None:
    def check(case: schemathesis.Case) -> None:
        prepare(case)
        case.call_and_validate(checks=CHECKS, timeout=30)

    try_cases(served, method, path, check, 8)
