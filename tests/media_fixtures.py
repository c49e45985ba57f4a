"""Fixtures of test streams, made once per session. Re-exported by the folders that use them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import plan, steps
from pipeline.media import layout
from tests.media import Form, make_hls

Clips = Callable[[Form], Path]


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """Playlists of streams by their form. Not to be written to: see ``copy_clip``."""
    made: dict[Form, Path] = {}

    def clip(form: Form) -> Path:
        if form not in made:
            made[form] = make_hls(tmp_path_factory.mktemp("clip"), form)
        return made[form]

    return clip


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams of a few hundred KB are cut, staged, joined and padded like those of gigabytes."""
    shrink(monkeypatch, part_bytes=30_000, chunk_bytes=40_000)


def shrink(monkeypatch: pytest.MonkeyPatch, *, part_bytes: int, chunk_bytes: int) -> None:
    monkeypatch.setattr(layout, "_FIRST_CHUNK_BYTES", chunk_bytes)
    monkeypatch.setattr(layout, "_ENCODED_CHUNK_BYTES", chunk_bytes)
    monkeypatch.setattr(layout, "MIN_PART_BYTES", part_bytes)
    monkeypatch.setattr(steps, "MIN_PART_BYTES", part_bytes)
    monkeypatch.setattr(plan, "MAX_CHUNK_S", 6.0)


def copy_clip(playlist: Path, folder: Path) -> Path:
    """A copy that a test may damage."""
    shutil.copytree(playlist.parent, folder)
    return folder / playlist.name
