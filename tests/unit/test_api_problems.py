"""Errors in one form, and an OpenAPI document that is true."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from pipeline import errors
from tests.unit.api_server import Product, in_process


async def test_unknown_routes_and_methods() -> None:
    async with in_process(Product()) as client:
        unknown = await client.get("/nowhere")
        wrong = await client.delete("/recordings")
    assert (unknown.status_code, unknown.content) == (404, b'{"error":"Not found"}')
    assert (wrong.status_code, wrong.content) == (405, b'{"error":"Method Not Allowed"}')
    assert wrong.headers["allow"] == "GET"


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as events:
        yield events


async def test_the_unexpected_leaks_nothing_and_is_logged(
    monkeypatch: pytest.MonkeyPatch, logged: list[Any]
) -> None:
    product = Product()

    async def broken(**_query: object) -> None:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(product.catalog, "list", broken)
    async with in_process(product) as client:
        answer = await client.get("/recordings")
    assert (answer.status_code, answer.content) == (500, b'{"error":"Internal server error"}')
    (event,) = logged
    assert event["log_level"] == "error"
    assert event["error_id"] == answer.headers["x-error-id"]
    assert event["exc_info"]


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (errors.InvalidTask("stream_id is empty"), 400, "stream_id is empty"),
        (errors.UsageError("no such profile", "Use copy"), 400, "no such profile. Use copy"),
        (errors.RecordingNotFound("x"), 404, "Recording not found"),
        (errors.Conflict("not completed"), 409, "not completed"),
        (errors.SourceForbidden("host is private"), 422, "host is private"),
        (errors.CatalogUnavailable("db:5432"), 503, "Database unavailable"),
        (errors.StoreUnavailable("s3:9000"), 503, "Object store unavailable"),
        (errors.StoreDenied("key AKIA"), 503, "Object store unavailable"),
        (errors.BrokerUnavailable("kafka:9092"), 503, "Message broker unavailable"),
        (errors.WorkerLost("pid 7"), 503, "Workers unavailable"),
        (errors.VerificationFailed("frame 7 lost"), 500, "Internal server error"),
    ],
)
async def test_our_errors_by_fault(
    monkeypatch: pytest.MonkeyPatch, error: errors.VodrayError, status: int, message: str
) -> None:
    product = Product()

    async def fail(**_query: object) -> None:
        raise error

    monkeypatch.setattr(product.catalog, "list", fail)
    async with in_process(product) as client:
        answer = await client.get("/recordings")
    assert (answer.status_code, answer.json()) == (status, {"error": message})
    assert ("retry-after" in answer.headers) == (status == 503)


ALWAYS = ("429", "500")
GUARDED = ("401", "403", "503", *ALWAYS)
LIVE_FILE = {"307", "400", "404", *GUARDED}


async def test_openapi_promises_only_what_is_served() -> None:
    async with in_process(Product()) as client:
        document = (await client.get("/openapi.json")).json()
    text = json.dumps(document)
    assert "HTTPValidationError" not in text
    served = {
        (path, method): set(operation["responses"])
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    assert served == {
        ("/health", "get"): {"200", *ALWAYS, "503"},
        ("/metrics", "get"): {"200", *GUARDED},
        ("/recordings", "get"): {"200", "400", *GUARDED},
        ("/recording/{id}", "get"): {"200", "404", *GUARDED},
        ("/recordings/{id}", "get"): {"200", "404", *GUARDED},
        ("/recordings/{id}", "patch"): {"200", "400", "404", *GUARDED},
        ("/recordings/{id}", "delete"): {"204", "404", "409", *GUARDED},
        ("/recordings/{id}/retry", "post"): {"200", "404", "409", *GUARDED},
        ("/recordings/{id}/cancel", "post"): {"200", "404", "409", *GUARDED},
        ("/recordings/{id}/report", "get"): {"200", "404", *GUARDED},
        ("/recordings/{id}/url", "get"): {"200", "400", "404", *GUARDED},
        **{
            ("/recordings/{id}/stream", method): {
                "200",
                "206",
                "304",
                "404",
                "412",
                "416",
                *GUARDED,
            }
            for method in ("get", "head")
        },
        ("/recordings/{id}/hls/{name}.m3u8", "get"): {"200", "400", "404", *GUARDED},
        ("/recordings/{id}/thumbnail", "get"): {"200", "304", "404", *GUARDED},
        ("/recordings/{id}/storyboard.vtt", "get"): {"200", "404", *GUARDED},
        ("/recordings/{id}/storyboard-{number}.jpg", "get"): {"200", "304", "400", "404", *GUARDED},
        ("/recordings/{id}/live.m3u8", "get"): {"200", "404", *GUARDED},
        ("/recordings/{id}/live/{playlist}.m3u8", "get"): {"200", "400", "404", *GUARDED},
        **{
            (f"/recordings/{{id}}/live/{{playlist}}/{{number}}{what}", "get"): LIVE_FILE
            for what in (".{extension}", "/init.mp4", "/key")
        },
        ("/webhook/stream", "post"): {"200", "400", "401", "403", "413", *ALWAYS, "503"},
        ("/events", "get"): {"200", *GUARDED},
        ("/recordings/{id}/events", "get"): {"200", "404", *GUARDED},
        ("/import-recording", "post"): {"201", "404", "409", "413", "422", "502", *GUARDED},
        ("/videos", "post"): {"201", "404", "409", "413", "422", *GUARDED},
        ("/videos", "get"): {"200", "400", *GUARDED},
        ("/videos/{id}", "get"): {"200", "404", *GUARDED},
        ("/videos/{id}", "patch"): {"200", "400", "404", *GUARDED},
        ("/videos/{id}", "delete"): {"204", "404", *GUARDED},
        ("/session", "get"): {"200", *ALWAYS, "503"},
        ("/session", "post"): {"200", "400", "401", *ALWAYS, "503"},
        ("/session", "delete"): {"204", *ALWAYS},
        ("/tokens/revoke", "post"): {"204", "400", "401", "403", *ALWAYS, "503"},
        ("/recordings/{id}/chunks", "get"): {"200", "404", *GUARDED},
        ("/recordings/{id}/chunks/events", "get"): {"200", "404", *GUARDED},
        ("/workers", "get"): {"200", *GUARDED},
        ("/", "get"): {"200", "304", *ALWAYS},
        ("/ui/config.json", "get"): {"200", *ALWAYS},
        ("/ui/{path}", "get"): {"200", "304", "404", *ALWAYS},
        ("/stream/notify", "post"): {"200", "400", "404", "409", "413", "501", *GUARDED},
        ("/stream/status", "get"): {"200", "501", *GUARDED},
        ("/stream/cleanup", "post"): {"200", "501", *GUARDED},
    }
    operations = [op for path in document["paths"].values() for op in path.values()]
    names = [op["operationId"] for op in operations]
    assert len(set(names)) == len(names)
    for operation in operations:
        for status, answer in operation["responses"].items():
            if status >= "400" and not (operation["operationId"] == "health" and status == "503"):
                schema = answer["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Problem"}


async def test_every_reference_of_openapi_resolves() -> None:
    async with in_process(Product()) as client:
        document = (await client.get("/openapi.json")).json()

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [each for value in node.values() for each in references(value)]
        if isinstance(node, list):
            return [each for value in node for each in references(value)]
        return []

    found = references(document)
    assert found
    for reference in found:
        node = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


async def test_the_schema_of_a_recording_lists_its_fields() -> None:
    async with in_process(Product()) as client:
        document = (await client.get("/openapi.json")).json()
    schema = document["components"]["schemas"]["Recording"]
    assert list(schema["properties"])[:9] == [
        "id",
        "stream_id",
        "video_id",
        "file_path",
        "duration",
        "file_size",
        "status",
        "started_at",
        "completed_at",
    ]
    # Only who may see it has it.
    assert set(schema["required"]) == set(schema["properties"]) - {"stream_key"}
