"""Reading recordings, byte by byte as existing clients expect."""

import json
from datetime import timedelta

import pytest

from pipeline.errors import CatalogUnavailable
from pipeline.model import Gap
from tests.unit.api_server import STARTED, Product, in_process


async def test_no_recordings() -> None:
    async with in_process(Product()) as client:
        answer = await client.get("/recordings")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.content == b'{"recordings":[]}'


async def test_a_completed_recording_to_the_byte() -> None:
    product = Product()
    recording = await product.complete(await product.record("d1eb"))
    expected = (
        f'{{"recording":{{"id":"{recording.id}","stream_id":"id-d1eb","video_id":null,'
        '"file_path":"recordings/d1eb.mp4","duration":1860,"file_size":524288000,'
        '"status":"completed","started_at":"2025-10-05T18:00:00Z",'
        '"completed_at":"2025-10-05T18:31:00Z","user_id":"u1","title":null,'
        '"thumbnail_path":null,"progress":{"segments":0,"chunks_done":0,"chunks_total":0,'
        '"seconds":0.0},"gaps":[],"error":null,"renditions":[],"keep":false}}'
    ).encode()
    async with in_process(product) as client:
        for path in ("/recording", "/recordings"):
            answer = await client.get(f"{path}/{recording.id}")
            assert (answer.status_code, answer.content) == (200, expected)


async def test_a_running_recording_has_nulls_and_no_stream_key() -> None:
    product = Product()
    recording = await product.record("secret-key", STARTED + timedelta(milliseconds=250))
    async with in_process(product) as client:
        answer = await client.get(f"/recording/{recording.id}")
    body = answer.json()["recording"]
    assert body["status"] == "recording"
    assert body["started_at"] == "2025-10-05T18:00:00.250000Z"
    assert body["completed_at"] is None
    assert body["file_path"] is None
    assert b"secret-key" not in answer.content.replace(b"id-secret-key", b"")


async def test_gaps_and_errors_are_shown() -> None:
    product = Product()
    gap = Gap(start_s=12.5, duration_s=4, reason="404", segments=(3, 4), wall_clock=STARTED)
    holey = await product.complete(await product.record("a"), gap)
    failed = await product.catalog.fail((await product.record("b")).id, "no such playlist")
    async with in_process(product) as client:
        one = (await client.get(f"/recording/{holey.id}")).json()["recording"]
        two = (await client.get(f"/recording/{failed.id}")).json()["recording"]
    assert one["gaps"] == [
        {
            "start": 12.5,
            "duration": 4.0,
            "wall_clock": "2025-10-05T18:00:00Z",
            "segments": [3, 4],
            "reason": "404",
        }
    ]
    assert (two["status"], two["error"]) == ("failed", "no such playlist")


@pytest.mark.parametrize("path", ["/recording/{}", "/recordings/{}", "/recordings/{}/report"])
@pytest.mark.parametrize(
    "recording_id",
    [
        "e410066c-8d50-4e0f-965f-452af1814ffa",
        "not-a-uuid",
        "1",
        "%00",
        "urn:uuid:e410066c-8d50-4e0f-965f-452af1814ffa",
        "{e410066c-8d50-4e0f-965f-452af1814ffa}",
    ],
)
async def test_unknown_ids(path: str, recording_id: str) -> None:
    async with in_process(Product()) as client:
        answer = await client.get(path.format(recording_id))
    assert (answer.status_code, answer.content) == (404, b'{"error":"Recording not found"}')


async def test_an_id_may_be_in_upper_case() -> None:
    product = Product()
    recording = await product.record("a")
    async with in_process(product) as client:
        answer = await client.get(f"/recording/{str(recording.id).upper()}")
    assert answer.status_code == 200


async def test_pages_newest_first_without_loss() -> None:
    product = Product()
    made = [(await product.record(f"s{n}")).id for n in range(7)]
    seen: list[str] = []
    async with in_process(product) as client:
        page = (await client.get("/recordings", params={"limit": 3})).json()
        seen += [each["id"] for each in page["recordings"]]
        while "next_cursor" in page:
            query = {"limit": 3, "cursor": page["next_cursor"]}
            page = (await client.get("/recordings", params=query)).json()
            seen += [each["id"] for each in page["recordings"]]
    assert seen == [str(each) for each in reversed(made)]


async def test_an_exactly_full_page_is_the_last() -> None:
    product = Product()
    for n in range(3):
        await product.record(f"s{n}")
    async with in_process(product) as client:
        page = (await client.get("/recordings", params={"limit": 3})).json()
    assert len(page["recordings"]) == 3
    assert "next_cursor" not in page


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("limit=0", "Invalid limit: Input should be greater than or equal to 1"),
        ("limit=1001", "Invalid limit: Input should be less than or equal to 1000"),
        (
            "limit=x",
            "Invalid limit: Input should be a valid integer, unable to parse string as an integer",
        ),
        ("cursor=", "Invalid cursor"),
        ("cursor=%00", "Invalid cursor"),
        ("cursor=AAAA", "Invalid cursor"),
        ("cursor=MDAwMS0wMS0wMVQwMDowMDowMCsyMzowMHw", "Invalid cursor"),
    ],
)
async def test_bad_queries(query: str, error: str) -> None:
    async with in_process(Product()) as client:
        answer = await client.get(f"/recordings?{query}")
    assert (answer.status_code, answer.json()) == (400, {"error": error})


async def test_the_report_comes_with_the_end() -> None:
    product = Product()
    recording = await product.record("a")
    async with in_process(product) as client:
        early = await client.get(f"/recordings/{recording.id}/report")
        await product.complete(recording)
        late = await client.get(f"/recordings/{recording.id}/report")
    assert early.status_code == 404
    assert early.content == b'{"error":"No report yet: the recording is recording"}'
    assert late.status_code == 200
    assert json.loads(late.content) == {"frames_in": 46500, "frames_out": 46500}


async def test_a_database_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    product = Product()

    async def away(**_query: object) -> None:
        raise CatalogUnavailable("cannot reach db.internal:5432")

    monkeypatch.setattr(product.catalog, "list", away)
    async with in_process(product) as client:
        answer = await client.get("/recordings")
    assert (answer.status_code, answer.content) == (503, b'{"error":"Database unavailable"}')
    assert int(answer.headers["retry-after"]) > 0
