"""Test streams for the tests of this folder; nothing waits before it tries again."""

import pytest

pytest.register_assert_rewrite("tests.hazards.seen")

from tests.media_fixtures import clips, small_chunks  # noqa: E402

__all__ = ["clips", "small_chunks"]
