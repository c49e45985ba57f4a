"""Streams for the fault tests, and where some of them are shown."""

from collections.abc import Iterator

import pytest

from tests.faults.origin import WebOrigin, web_origin
from tests.media_fixtures import clips

__all__ = ["clips", "origin"]


@pytest.fixture(scope="module")
def origin() -> Iterator[WebOrigin]:
    """Its addresses are good for a few seconds."""
    with web_origin(signed_s=5) as origin:
        yield origin
