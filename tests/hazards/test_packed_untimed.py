"""Packed sound whose segments tell no time: one frame behind the other (row 17)."""

from pathlib import Path

import pytest

from tests.hazards.test_containers import PACKED, check_packed


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("codec", PACKED)
async def test_packed_sound_without_times(codec: str, tmp_path: Path) -> None:
    await check_packed(codec, tmp_path, timed=False, start=0, bend=lambda data: data)
