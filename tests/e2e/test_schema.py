"""Whatever is sent, the answers are those that the OpenAPI document promises, with and without
access control."""

from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import cycle
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.e2e.service import Service, vodray
from tests.e2e.world import Broadcast, Json, World
from tests.media import Form
from tests.media_fixtures import Clips
from tests.unit.api_server import Product

pytestmark = pytest.mark.timeout(280)
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
SECRET = "a secret for tests, and long enough for HS256"
Prepare = Callable[[schemathesis.Case], None]


# Events come without end.
OPERATIONS = [
    (method, path)
    for path, item in Product().app().openapi()["paths"].items()
    for method in item
    if not path.endswith("events")
]
each_operation = pytest.mark.parametrize(("method", "path"), OPERATIONS)


def document(world: World) -> Any:
    return schemathesis.openapi.from_url(f"{world.endpoints['http']}/openapi.json")


def try_cases(
    served: Any, method: str, path: str, check: Callable[[schemathesis.Case], None], count: int
) -> None:
    """So many requests to one operation; the same ones each time."""

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=served[path][method].as_strategy())
    def attempt(case: schemathesis.Case) -> None:
        check(case)

    attempt()


def completed(world: World, clips: Clips) -> Json:
    ended = Broadcast(world=world, playlist=clips(Form(seconds=6)))
    ended.show(ended=True)
    ended.tell("ended")
    recording = ended.completed()
    video = {"recording_id": recording["id"], "title": "x", "visibility": "public"}
    answer = world.http.post("/import-recording", json=video)
    assert answer.status_code == 201
    return recording | {"video_id": answer.json()["video"]["id"]}


def known_ids(recording: Json) -> Prepare:
    """Every other request that only reads is about something that is there."""
    turn = cycle((True, False))

    def prepare(case: schemathesis.Case) -> None:
        if "id" in case.path_parameters and case.method in ("GET", "HEAD", "PATCH") and next(turn):
            is_video = case.path.startswith("/videos")
            case.path_parameters["id"] = recording["video_id" if is_video else "id"]

    return prepare


@pytest.fixture(scope="module")
def prepare(world: World, clips: Clips) -> Prepare:
    return known_ids(completed(world, clips))


@pytest.fixture(scope="module")
def served(world: World) -> Any:
    return document(world)


@each_operation
def test_answers_are_promised(method: str, path: str, served: Any, prepare: Prepare) -> None:
    def check(case: schemathesis.Case) -> None:
        prepare(case)
        case.call_and_validate(checks=CHECKS, timeout=30)

    try_cases(served, method, path, check, 12)


# --- with access control --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    service = Service(tmp_path_factory.mktemp("guarded"), AUTH_SECRET=SECRET)
    with closing(World(service.start())) as world:
        yield world
    service.stop()


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("token")
    minted = vodray("token", "--scope", "admin", "--days", "1", cwd=folder, AUTH_SECRET=SECRET)
    assert minted.code == 0, minted.err
    return {"Authorization": f"Bearer {minted.out.strip()}"}


@pytest.fixture(scope="module")
def guarded_prepare(guarded: World, token: dict[str, str], clips: Clips) -> Prepare:
    guarded.http.headers.update(token)
    return known_ids(completed(guarded, clips))


@pytest.fixture(scope="module")
def guarded_served(guarded: World) -> Any:
    return document(guarded)


OPEN = {"/health", "/webhook/stream", "/session", "/", "/ui/config.json", "/ui/{path}"}


@each_operation
def test_answers_to_a_token(
    method: str, path: str, guarded_served: Any, guarded_prepare: Prepare, token: dict[str, str]
) -> None:
    def check(case: schemathesis.Case) -> None:
        guarded_prepare(case)
        case.call_and_validate(checks=CHECKS, headers=token, timeout=30)

    try_cases(guarded_served, method, path, check, 4)


@each_operation
def test_answers_without_a_token(
    method: str, path: str, guarded_served: Any, guarded_prepare: Prepare
) -> None:
    def check(case: schemathesis.Case) -> None:
        guarded_prepare(case)
        answer = case.call(timeout=30, headers={"Authorization": ""})
        case.validate_response(answer, checks=CHECKS)
        if path not in OPEN:
            # What cannot be read at all is refused before anybody is asked for.
            assert answer.status_code in (400, 401, 404, 422, 429), answer.status_code

    try_cases(guarded_served, method, path, check, 3)


def test_nothing_is_told_without_a_token(guarded: World, token: dict[str, str]) -> None:
    guarded.http.headers.update(token)
    recordings = guarded.http.get("/recordings").json()["recordings"]
    for recording in recordings:
        for what in ("", "/stream", "/url", "/report", "/events", "/hls/master.m3u8", "/chunks"):
            path = f"{guarded.endpoints['http']}/recordings/{recording['id']}{what}"
            assert httpx.get(path).status_code == 401
