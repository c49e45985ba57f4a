"""Streams with something wrong: what is bad costs only itself, and the gap says where and why."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.model import Status
from tests import media
from tests.local_pool import Result, record
from tests.media import FPS, Form
from tests.media_fixtures import Clips, copy_clip

FORM = Form()
PER_SEGMENT = round(FORM.segment_s * FPS)
KINDS = {"ts": FORM, "fmp4": Form(container="fmp4")}


def segments(playlist: Path) -> list[Path]:
    names = [name for name in playlist.read_text().splitlines() if name and name[0] != "#"]
    return [playlist.parent / name for name in names]


def numbers_without(*lost: int) -> list[int]:
    return [n for n in range(FORM.seconds * FPS) if n // PER_SEGMENT not in lost]


async def check(
    playlist: Path, out: Path, lost: tuple[int, ...], gaps: list[tuple[float, float]]
) -> Result:
    """Record; exactly the segments ``lost`` are missing, at ``gaps`` (start, duration)."""
    result = await record(playlist, out)
    assert result.recording.error is None
    assert result.recording.status is Status.COMPLETED
    assert media.decode_complaints(result.mp4) == ""
    for way in (result.mp4, result.playlist):
        assert media.frame_numbers(way) == numbers_without(*lost)
    found = result.recording.gaps
    assert [s for gap in found for s in gap.segments] == list(lost)
    assert [(gap.start_s, gap.duration_s) for gap in found] == [
        (pytest.approx(start, abs=0.05), pytest.approx(length)) for start, length in gaps
    ]
    assert_in_step(result.mp4)
    return result


def assert_in_step(mp4: Path) -> None:
    """Where a second's first picture is there, so is its tick, at the same time."""
    shown = media.frame_times(mp4)
    ticks = media.tick_times(mp4)
    expected = [at for number, at in shown.items() if number % FPS == 0]
    assert ticks == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize(
    ("lost", "gaps"),
    [
        ((2,), [(4.0, 2.0)]),
        ((2, 3), [(4.0, 4.0)]),
        ((1, 3), [(2.0, 2.0), (4.0, 2.0)]),
        ((0,), [(0.0, 2.0)]),
        ((5,), [(10.0, 2.0)]),
        ((0, 1, 2), [(0.0, 6.0)]),
        ((0, 1, 2, 3, 4), [(0.0, 10.0)]),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, tuple) else "",
)
@pytest.mark.usefixtures("small_chunks")
async def test_missing_segments_are_gaps(
    kind: Form, lost: tuple[int, ...], gaps: list[tuple[float, float]], clips: Clips, tmp_path: Path
) -> None:
    playlist = copy_clip(clips(kind), tmp_path / "in")
    for number in lost:
        segments(playlist)[number].unlink()
    result = await check(playlist, tmp_path / "out", lost, gaps)
    assert all("seg_" in gap.reason for gap in result.recording.gaps)
    assert result.report["segments_lost"] == len(lost)
    assert result.report["frames_in"] == result.report["frames_out"]


BAD_BYTES = {
    "html": b"<!DOCTYPE html><html><body>404</body></html>",
    "nothing": b"",
    "zeros": bytes(50_000),
    "noise": bytes((i * i * 7919 >> 5) & 255 for i in range(50_000)),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("data", BAD_BYTES.values(), ids=BAD_BYTES.keys())
@pytest.mark.usefixtures("small_chunks")
async def test_bad_bytes_cost_only_their_segment(
    kind: Form, data: bytes, clips: Clips, tmp_path: Path
) -> None:
    playlist = copy_clip(clips(kind), tmp_path / "in")
    segments(playlist)[1].write_bytes(data)
    result = await check(playlist, tmp_path / "out", (1,), [(2.0, 2.0)])
    assert result.recording.gaps[0].reason


async def test_gap_tag(clips: Clips, tmp_path: Path) -> None:
    playlist = copy_clip(clips(FORM), tmp_path / "in")
    lines = playlist.read_text().replace("seg_00003", "#EXT-X-GAP\nseg_00003".replace("#", "#", 1))
    playlist.write_text(lines)
    result = await check(playlist, tmp_path / "out", (3,), [(6.0, 2.0)])
    assert "EXT-X-GAP" in result.recording.gaps[0].reason


async def test_nothing_readable_fails_and_leaves_nothing(clips: Clips, tmp_path: Path) -> None:
    playlist = copy_clip(clips(FORM), tmp_path / "in")
    for segment in segments(playlist):
        segment.unlink()
    result = await record(playlist, tmp_path / "out")
    assert result.recording.status is Status.FAILED
    assert result.recording.error is not None
    assert "seg_0000" in result.recording.error
    assert [path for path in result.folder.rglob("*") if path.is_file()] == []


@pytest.mark.usefixtures("small_chunks")
async def test_only_the_first_segments_are_readable_late(clips: Clips, tmp_path: Path) -> None:
    playlist = copy_clip(clips(FORM), tmp_path / "in")
    for segment in segments(playlist)[1:]:
        segment.write_bytes(b"")
    await check(playlist, tmp_path / "out", (1, 2, 3, 4, 5), [(2.0, 10.0)])


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize(
    ("before_s", "behind_s", "missing_s"), [(0.0, 3_600.0, 3_588.0), (1_000.0, 0.0, None)]
)
async def test_a_jump_of_the_clock_closes_up(
    clips: Clips, tmp_path: Path, before_s: float, behind_s: float, missing_s: float | None
) -> None:
    """The clock jumps ahead an hour, unmarked: the timeline goes on, and the report says so. A
    clock that starts again looks, unwrapped, like a jump of a day ahead, and misses nothing."""
    first = clips(replace(FORM, offset_s=before_s))
    second = clips(replace(FORM, first_frame=FORM.seconds * FPS, offset_s=behind_s))
    folder = tmp_path / "in"
    playlist = copy_clip(first, folder)
    lines = [line for line in playlist.read_text().splitlines() if line != "#EXT-X-ENDLIST"]
    for number, segment in enumerate(segments(second)):
        (folder / f"later_{number}.ts").write_bytes(segment.read_bytes())
        lines += ["#EXTINF:2.000000,", f"later_{number}.ts"]
    playlist.write_text("\n".join([*lines, "#EXT-X-ENDLIST", ""]))
    result = await record(playlist, tmp_path / "out")
    assert result.recording.error is None
    assert media.frame_numbers(result.mp4) == list(range(2 * FORM.seconds * FPS))
    assert result.report["duration_s"] == pytest.approx(24.0, abs=0.1)
    assert_in_step(result.mp4)
    assert [gap.duration_s for gap in result.recording.gaps] == (
        [] if missing_s is None else [pytest.approx(missing_s, abs=0.5)]
    )


@pytest.mark.usefixtures("small_chunks")
async def test_sound_that_ends_in_the_next_segment(clips: Clips, tmp_path: Path) -> None:
    """Nothing is lost where the rest of a frame lies in the next chunk, and nothing is doubled."""
    playlist = copy_clip(clips(FORM), tmp_path / "in")
    media.straddle(playlist)
    result = await record(playlist, tmp_path / "out")
    assert result.recording.gaps == ()
    assert media.decode_complaints(result.mp4) == ""
    assert media.frame_numbers(result.mp4) == numbers_without()
    chunks = len(result.report["chunks"])
    assert chunks >= 3
    assert sum(chunk["torn_packets"] for chunk in result.report["chunks"]) == 0
    reference = media.remux_with_ffmpeg(playlist, tmp_path / "reference.mp4")
    wanted = [p.digest for p in media.packets(reference) if p.stream == 1]
    found = [p.digest for p in media.packets(result.mp4) if p.stream == 1]
    assert found == wanted
