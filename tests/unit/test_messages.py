"""Kafka messages: what is a task, what is none and why; what is said about state changes."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import InvalidTask
from pipeline.messages import MAX_TASK_BYTES, parse_task, state_event
from pipeline.model import EventKind, Origin, Recording, Status, StreamEvent
from pipeline.stores.catalog import StateChange

NOW = datetime(2025, 10, 5, 20, tzinfo=UTC)
SENT_AT = datetime(2025, 10, 5, 19, tzinfo=UTC)
SIX = datetime(2025, 10, 5, 18, tzinfo=UTC)
BODY = {"stream_id": "xyz-stream-id", "action": "stop", "timestamp": "2025-10-05T18:00:00Z"}


def parse(value: bytes | None) -> StreamEvent:
    return parse_task(value, sent_at=SENT_AT, now=NOW)


def parse_body(**changes: Any) -> StreamEvent:
    return parse(json.dumps({**BODY, **changes}).encode())


def refusal(value: bytes | None) -> str:
    with pytest.raises(InvalidTask) as caught:
        parse(value)
    return str(caught.value)


def test_the_contract_s_message_as_a_whole() -> None:
    assert parse_body(
        hls_path="hls-streams/key/stream.m3u8",
        profile="abr",
        start_time="2025-10-05T17:00:00Z",
        end_time="2025-10-05T17:59:59.5Z",
        duration_seconds=3600,
        status="ended",
        something_new={"a": [1]},
    ) == StreamEvent(
        kind=EventKind.ENDED,
        stream_id="xyz-stream-id",
        occurred_at=datetime(2025, 10, 5, 17, 59, 59, 500_000, tzinfo=UTC),
        origin=Origin.KAFKA,
        started_at=datetime(2025, 10, 5, 17, tzinfo=UTC),
        hls_path="hls-streams/key/stream.m3u8",
        profile="abr",
    )


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("start", EventKind.STARTED),
        ("stop", EventKind.ENDED),
        ("process", EventKind.ENDED),
        ("record", EventKind.ENDED),
        ("", EventKind.ENDED),
        (None, EventKind.ENDED),
    ],
)
def test_actions(action: str | None, kind: EventKind) -> None:
    assert parse_body(action=action).kind is kind


def test_no_action_is_an_end() -> None:
    assert parse(b'{"stream_id":"s"}').kind is EventKind.ENDED


def test_an_event_happened_at_its_own_time_else_at_its_timestamp_else_when_it_was_sent() -> None:
    times = {"start_time": "2025-10-05T17:00:00Z", "end_time": "2025-10-05T17:30:00Z"}
    assert parse_body(action="start", **times).occurred_at == datetime(2025, 10, 5, 17, tzinfo=UTC)
    assert parse_body(action="stop", **times).occurred_at.minute == 30
    assert parse_body(action="start").occurred_at == SIX
    assert parse_body(action="start").started_at is None
    assert parse(b'{"stream_id":"s","action":"start"}').occurred_at == SENT_AT


@pytest.mark.parametrize(
    "time",
    [
        "2025-10-05T18:00:00Z",
        "2025-10-05t18:00:00z",
        "2025-10-05T18:00:00.000000000Z",
        "2025-10-05T21:30:00+03:30",
        "2025-10-05T21:30:00.000+03:30",
        "2025-10-05T18:00:00-00:00",
        1759687200,
        1759687200.0,
        1759687200000,
    ],
)
def test_forms_of_one_time(time: object) -> None:
    occurred_at = parse_body(timestamp=time).occurred_at
    assert (occurred_at, occurred_at.tzinfo) == (SIX, UTC)


@pytest.mark.parametrize("unset", [None, "", "0001-01-01T00:00:00Z"])
def test_times_that_say_nothing(unset: object) -> None:
    event = parse_body(start_time=unset, end_time=unset, timestamp=unset)
    assert (event.started_at, event.occurred_at) == (None, SENT_AT)


@pytest.mark.parametrize(
    "time",
    [
        "yesterday",
        "2025-10-05",
        "2025-10-05T18:00:00",
        "2025-13-05T18:00:00Z",
        "2025-10-05T25:00:00Z",
        "2025-10-05T18:00:00+99:99",
        "９999-10-05T18:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "1999-12-31T23:59:59Z",
        "2025-10-06T20:00:01Z",
        0,
        -1,
        10**400 // 10**100,
        1e308,
        True,
        [],
        {},
    ],
)
def test_times_that_are_none(time: object) -> None:
    for field in ("timestamp", "start_time", "end_time"):
        assert field in refusal(json.dumps({**BODY, field: time}).encode())


def test_an_end_before_the_start_is_no_task() -> None:
    times = {"start_time": "2025-10-05T17:00:00Z", "end_time": "2025-10-05T16:00:00Z"}
    assert "before" in refusal(json.dumps({**BODY, **times}).encode())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"stream_id": None}, "stream_id is missing"),
        ({"stream_id": ""}, "stream_id is empty"),
        ({"stream_id": " \t"}, "stream_id is empty"),
        ({"stream_id": 7}, "stream_id is not a string"),
        ({"stream_id": "a/b"}, "stream_id contains a slash"),
        ({"stream_id": "a\\b"}, "stream_id contains a slash"),
        ({"stream_id": ".."}, "relative path"),
        ({"stream_id": "."}, "relative path"),
        ({"stream_id": "a\x00b"}, "control characters"),
        ({"stream_id": "a\u2028b"}, "control characters"),
        ({"stream_id": "a\ud800b"}, "control characters"),
        ({"stream_id": "x" * 256}, "longer than 255 bytes"),
        ({"stream_id": "é" * 128}, "longer than 255 bytes"),
        ({"action": "explode"}, "'explode'"),
        ({"action": "START"}, "'START'"),
        ({"action": 5}, "int"),
        ({"action": ["start"]}, "list"),
        ({"action": "x" * 1000}, "x..."),
        ({"hls_path": 5}, "hls_path is not a string"),
        ({"profile": ["copy"]}, "profile is not a string"),
        ({"hls_path": "a/../b"}, "relative path"),
        ({"hls_path": "..\\b"}, "relative path"),
        ({"hls_path": "a\nb"}, "control characters"),
        ({"hls_path": "x" * 1025}, "longer than 1024 bytes"),
    ],
)
def test_reasons(changes: dict[str, Any], reason: str) -> None:
    said = refusal(json.dumps({**BODY, **changes}).encode())
    assert reason in said
    assert len(said) < 300


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "no value"),
        (b"", "not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"hello", "not JSON"),
        (b"[]", "no object"),
        (b'"text"', "no object"),
        (b"{}", "stream_id is missing"),
        (b'{"stream_id":"s","timestamp":NaN}', "NaN"),
        (b'{"stream_id":"s","x":-Infinity}', "Infinity"),
        (b'{"stream_id":"s","timestamp":1e999}', "timestamp"),
        (b'{"stream_id":"s","x":' + b"9" * 5000 + b"}", "too large"),
        (b'{"stream_id":"s","x":' + b"[" * 60_000, "nested too deeply"),
        (b'{"a":' * 10_000, "nested too deeply"),
        (b" " * (MAX_TASK_BYTES + 1), "more than 65536"),
    ],
)
def test_values_that_are_no_task(value: bytes | None, reason: str) -> None:
    assert reason in refusal(value)


def test_of_a_repeated_field_the_last_one_counts() -> None:
    assert parse(b'{"stream_id":"first","stream_id":"last"}').stream_id == "last"


def test_limits_are_inclusive_and_names_are_stripped() -> None:
    assert parse_body(stream_id="  " + "x" * 255 + "\n").stream_id == "x" * 255
    assert parse_body(hls_path="p" * 1024).hls_path == "p" * 1024
    assert parse_body(timestamp="2025-10-06T20:00:00Z").occurred_at == NOW + timedelta(days=1)
    body = json.dumps(BODY).encode()
    assert parse(body + b" " * (MAX_TASK_BYTES - len(body))).stream_id == "xyz-stream-id"


def test_a_byte_order_mark_is_borne() -> None:
    assert parse(b"\xef\xbb\xbf" + json.dumps(BODY).encode()).stream_id == "xyz-stream-id"


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
anything = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)
fields = st.sampled_from(
    ["stream_id", "action", "timestamp", "start_time", "end_time", "hls_path", "status", "x"]
)
nearly_times = st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z?")


# The first text that hypothesis draws on a machine costs it seconds.
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.binary(max_size=200)
    | st.dictionaries(fields, anything | nearly_times).map(lambda d: json.dumps(d).encode())
)
def test_any_bytes_are_a_task_or_an_invalid_one(value: bytes) -> None:
    try:
        event = parse(value)
    except InvalidTask:
        return
    assert event.stream_id.encode()
    assert event.occurred_at.tzinfo is UTC


def recording(**changes: Any) -> Recording:
    values: dict[str, Any] = {
        "id": UUID("e410066c-8d50-4e0f-965f-452af1814ffa"),
        "stream_id": "s",
        "status": Status.COMPLETED,
        "started_at": SIX,
        "created_at": SIX,
        "updated_at": SIX,
        "file_path": "recordings/k.mp4",
        "duration": 1860,
        "file_size": 524288000,
    }
    return Recording(**{**values, **changes})


def test_state_events_carry_the_status_changed_to() -> None:
    change = StateChange(
        id=1, recording=recording(), status=Status.PROCESSING, changed_at=SIX.astimezone()
    )
    assert json.loads(state_event(change)) == {
        "recording_id": "e410066c-8d50-4e0f-965f-452af1814ffa",
        "stream_id": "s",
        "status": "processing",
        "file_path": "recordings/k.mp4",
        "duration": 1860,
        "file_size": 524288000,
        "error": None,
        "timestamp": "2025-10-05T18:00:00.000Z",
    }


def test_state_events_stay_small() -> None:
    failed = recording(status=Status.FAILED, error="e" * 100_000)
    change = StateChange(id=1, recording=failed, status=Status.FAILED, changed_at=SIX)
    assert len(state_event(change)) < 4096
