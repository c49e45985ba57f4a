"""Whatever is sent with access control on: with a token the answers are those that the OpenAPI
document promises, without one nothing is told."""

import asyncio
from typing import Any

import pytest
import schemathesis
from pydantic import SecretStr

from pipeline.settings import Settings
from pipeline.stores.platform import Video, Visibility
from serve_app.access.caller import Scope
from serve_app.access.tokens import mint
from tests.promised import CHECKS, each_operation, known_ids, try_cases
from tests.unit.api_server import Product
from tests.unit.test_api_streams import Ingest

SECRET = SecretStr("a secret for tests, and long enough for HS256")
# What is told to everybody: whether it is well, the page, how to come in.
OPEN = {"/health", "/webhook/stream", "/session", "/", "/ui/config.json", "/ui/{path}"}


class Behind:
    """An application behind a door, with one recording and its video."""

    def __init__(self) -> None:
        self.product = Product(settings={"auth_secret": SECRET, "rate_limit": 0}, ingest=Ingest())
        self.product.objects.ensure_bucket("recordings")
        recording = asyncio.run(self._fill())
        self.prepare = known_ids(str(recording.id), str(recording.video_id))
        self.served: Any = schemathesis.openapi.from_asgi("/openapi.json", self.product.app())
        settings = Settings(_env_file=None, auth_secret=SECRET)
        self.token = {"Authorization": f"Bearer {mint(settings, [Scope.ADMIN], None, 1)}"}

    async def _fill(self) -> Any:
        product = self.product
        recording = await product.complete(await product.record("s"))
        video = Video(
            id=recording.id, recording_id=recording.id, user_id="u1", title="A talk",
            visibility=Visibility.PUBLIC, created_at=recording.created_at,
            updated_at=recording.created_at,
        )  # fmt: skip
        await product.platform.add_video(video)
        return await product.catalog.link_video(recording.id, video.id)


@pytest.fixture(scope="module")
def behind() -> Behind:
    return Behind()


@each_operation
def test_answers_to_a_token(method: str, path: str, behind: Behind) -> None:
    def check(case: schemathesis.Case) -> None:
        behind.prepare(case)
        case.call_and_validate(checks=CHECKS, headers=behind.token)

    try_cases(behind.served, method, path, check, 6)


@each_operation
def test_answers_without_a_token(method: str, path: str, behind: Behind) -> None:
    def check(case: schemathesis.Case) -> None:
        behind.prepare(case)
        answer = case.call(headers={"Authorization": ""})
        case.validate_response(answer, checks=CHECKS)
        if path not in OPEN:
            # What cannot be read at all is refused before anybody is asked for.
            assert answer.status_code in (400, 401, 404, 422), answer.status_code

    try_cases(behind.served, method, path, check, 3)
