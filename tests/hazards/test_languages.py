"""Sounds of a master playlist keep the languages that it names (row 12)."""

import shutil
from pathlib import Path

import av
import pytest

from tests.hazards.test_master import apart, master, sound
from tests.local_pool import record


@pytest.mark.usefixtures("small_chunks")
async def test_languages_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    apart(folder, "m4s")
    shutil.copytree(folder / "en", folder / "de")
    lines = [sound("en", LANGUAGE='"en"', DEFAULT="YES"), sound("de", LANGUAGE='"de"')]
    playlist = master(folder, ['BANDWIDTH=1,AUDIO="a" v/stream.m3u8'], *lines)
    result = await record(playlist, tmp_path / "out")
    with av.open(str(result.mp4)) as made:
        languages = [s.metadata.get("language") for s in made.streams.audio]
    assert languages == ["eng", "deu"]
