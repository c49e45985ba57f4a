"""Test streams for the tests of this folder."""

from tests.media_fixtures import clips, small_chunks

__all__ = ["clips", "small_chunks"]
