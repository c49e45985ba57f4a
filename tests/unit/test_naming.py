"""Names of results: from the template, safe as keys, one's own in the end."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model import Recording, Status
from pipeline.naming import object_names

ID = UUID("e410066c-8d50-4e0f-965f-452af1814ffa")
AT = datetime(2025, 10, 5, 20, 0, tzinfo=timezone(timedelta(hours=2)))
RECORDING = Recording(
    id=ID,
    stream_id="xyz-stream-id",
    stream_key="d1eb2fe8",
    status=Status.RECORDING,
    started_at=AT,
    created_at=AT.astimezone(UTC),
    updated_at=AT.astimezone(UTC),
)


@pytest.mark.parametrize(
    ("template", "names"),
    [
        (
            "{stream_key}",
            ["d1eb2fe8", "d1eb2fe8_20251005T180000Z", f"d1eb2fe8_20251005T180000Z_{ID}"],
        ),
        (
            "{stream_id}/{started_at}",
            ["xyz-stream-id/20251005T180000Z", f"xyz-stream-id/20251005T180000Z_{ID}"],
        ),
        ("{recording_id}", [f"{ID}", f"{ID}_20251005T180000Z"]),
    ],
)
def test_names_in_order(template: str, names: list[str]) -> None:
    assert list(object_names(template, RECORDING)) == names


def test_without_a_key_the_id_names_it() -> None:
    assert object_names("{stream_key}", replace(RECORDING, stream_key=None))[0] == "xyz-stream-id"


@given(st.text(min_size=1, max_size=60))
def test_no_key_leaves_its_folder_or_hides(key: str) -> None:
    for name in object_names("{stream_key}", replace(RECORDING, stream_key=key)):
        assert "/" not in name
        assert "\\" not in name
        assert not name.startswith(".")
        assert name.isascii()
        assert name.isprintable()


def test_the_last_name_is_this_recordings_alone() -> None:
    other = replace(RECORDING, id=UUID(int=1))
    for template in ("{stream_key}", "{recording_id}", "{stream_id}_{started_at}"):
        assert object_names(template, RECORDING)[-1] != object_names(template, other)[-1]
