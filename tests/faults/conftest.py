"""Streams for the fault tests."""

from tests.media_fixtures import clips

__all__ = ["clips"]
