"""Test streams for the tests of this folder; nothing waits before it tries again."""

import pytest

pytest.register_assert_rewrite("tests.hazards.seen")

from actors import dispatch  # noqa: E402
from tests.media_fixtures import clips, small_chunks  # noqa: E402

__all__ = ["clips", "small_chunks"]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_RETRY_DELAY_S", 0.0)
