"""How full a disk is, held against what ``df`` says."""

import subprocess
from pathlib import Path

import pytest

from pipeline.disk import DiskAlert, fill, used_percent, watched
from pipeline.settings import Settings


def df(folder: Path) -> tuple[int, int]:
    out = subprocess.check_output(["df", "--output=used,avail", folder], text=True)
    used, available = out.splitlines()[1].split()
    return int(used), int(available)


def test_it_counts_as_df_does(tmp_path: Path) -> None:
    used, available = df(tmp_path)
    assert used_percent(tmp_path) == pytest.approx(100 * used / (used + available), abs=0.5)


def test_a_folder_that_is_not_made_yet_is_on_its_parents_disk(tmp_path: Path) -> None:
    assert used_percent(tmp_path / "not" / "yet") == pytest.approx(used_percent(tmp_path), abs=0.5)


def test_what_cannot_be_told_is_not_full(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(_: Path) -> None:
        raise OSError("the file server is away")

    monkeypatch.setattr("os.statvfs", broken)
    assert used_percent(tmp_path) == 0


def test_the_fullest_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.disk.used_percent", {Path("a"): 20.0, Path("b"): 70.0}.get)
    assert fill([Path("a"), Path("b")]) == 70
    assert fill([]) == 0


def test_the_folders_are_those_that_we_write_to(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, spool_dir=tmp_path / "s", ingest_dir=tmp_path / "i")
    assert watched(settings) == {"spool": tmp_path / "s", "ingest": tmp_path / "i"}


def test_an_alert_is_over_only_when_the_disk_is_clearly_below(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    filling = iter([80.0, 80.04, 79.9, 78.1, 81.0, 78.0, 79.9, 80.1])
    monkeypatch.setattr("pipeline.disk.fill", lambda _: next(filling))
    alert = DiskAlert(Settings(_env_file=None, disk_alert_percent=80))
    told = [(alert.has_changed(), alert.state.is_full) for _ in range(8)]
    assert told == [
        (False, False),
        (True, True),
        (False, True),
        (False, True),
        (False, True),
        (True, False),
        (False, False),
        (True, True),
    ]


def test_a_limit_of_100_percent_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.disk.used_percent", lambda _: 100.0)
    alert = DiskAlert(Settings(_env_file=None, disk_alert_percent=100))
    assert not alert.has_changed()
    assert not alert.state.is_full
