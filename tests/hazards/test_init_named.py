"""An init section that is something else costs its part and is named as what it is (row 5)."""

from pathlib import Path

import pytest

from tests.hazards.test_init_sections import check_ad_is_lost, with_an_ad
from tests.media_fixtures import Clips


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize(
    "data", [b"<html>not found</html>", b"", bytes(700)], ids=["html", "empty", "zeros"]
)
async def test_a_later_init_that_is_something_else(
    data: bytes, clips: Clips, tmp_path: Path
) -> None:
    playlist = with_an_ad(tmp_path, clips)
    (playlist.parent / "part1" / "init.mp4").write_bytes(data)
    await check_ad_is_lost(playlist, tmp_path)
