"""The judge says what is wrong, and nothing when nothing is."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from pipeline.stores.objects_folder import FolderStore
from tests.faults.judge import assert_undisturbed, differences, left_in_bucket, temporary_files
from tests.media import Form, Packet, make_hls, remux_with_ffmpeg


def run(name: str, count: int = 10) -> list[Packet]:
    """Pictures and sound of 40 ms each, as a file has them."""
    return [
        Packet(
            stream=stream,
            dts=Fraction(n, 25),
            pts=Fraction(n, 25),
            size=1,
            digest=f"{name} {stream} {n}",
        )
        for n in range(count)
        for stream in (0, 1)
    ]


def moved(packets: list[Packet], seconds: Fraction) -> list[Packet]:
    return [replace(p, pts=p.pts + seconds, dts=p.dts + seconds) for p in packets]


def test_the_same_but_for_an_offset_of_each_run() -> None:
    first, second = run("a"), run("b")
    later = moved(second, Fraction(123, 100))
    assert differences(moved(first, Fraction(-1, 7)) + later, [first, second]) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda p: p[:6] + p[8:], "1 missing of 10 packets, from number 3 at 0.120 s"),
        (lambda p: p[:8] + p[6:], "1 there twice of 10 packets, from number 4 at 0.160 s"),
        (lambda p: p[:6] + p[8:] + p[:2], "1 missing, 1 there twice of 10 packets"),
        (lambda p: [*p, replace(p[0], digest="x")], "1 strange of 10 packets, from number 10"),
        (lambda p: p[2:4] + p[:2] + p[4:], "out of order of 10 packets, from number 0"),
        (lambda p: p[:-2], "1 missing of 10 packets, from number 9"),
        (lambda p: [], "10 missing of 10 packets"),
        (lambda p: p[:6] + moved(p[6:], Fraction(1, 100)), "run 0: 0.010000 s off at 0.120 s"),
        (lambda p: [x for x in p if x.stream == 0], "stream 1: 10 missing"),
    ],
)
def test_what_is_wrong(change: Callable[[list[Packet]], list[Packet]], told: str) -> None:
    found = differences(change(run("a")), [run("a")])
    assert any(told in line for line in found), found


def test_streams_that_drift_apart() -> None:
    found = [replace(p, pts=p.pts + p.stream * Fraction(1, 50)) for p in run("a")]
    assert differences(found, [run("a")]) == ["stream 1, run 0: 0.020000 s off at 0.000 s"]


def test_real_files(tmp_path: Path) -> None:
    playlist = make_hls(tmp_path / "stream", Form(seconds=4))
    mp4 = remux_with_ffmpeg(playlist, tmp_path / "whole.mp4")
    assert_undisturbed(mp4, [playlist], tmp_path)
    with pytest.raises(AssertionError, match="missing"):
        assert_undisturbed(mp4, [playlist, playlist], tmp_path)


def test_what_is_left(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    store.ensure_bucket("results")
    store.put("results", "name.mp4", b"x", "video/mp4")
    assert left_in_bucket(store, "results") == []
    store.put("results", ".vodray/id/chunk", b"x", "video/mp4")
    store.create_upload("results", "other.mp4", "video/mp4")
    assert left_in_bucket(store, "results") == ["object .vodray/id/chunk", "upload of other.mp4"]


def test_which_files_are_ours(tmp_path: Path) -> None:
    for name in ("pymp-x1/listener", "vodray-spool/id/1.ts"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.touch()
    assert temporary_files(tmp_path) == ["file vodray-spool/id/1.ts"]
