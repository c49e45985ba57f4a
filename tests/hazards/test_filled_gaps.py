"""``GAP_POLICY=fill``: black and silence where media is missing, all else at its own time."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.media import filler
from pipeline.model import Status
from serve_app.cli import main
from tests import bending, media
from tests.hazards.seen import Seen, assert_completed, look, numbers_by_hls
from tests.hazards.streams import SMALL
from tests.hazards.test_master import apart, master, sound
from tests.local_pool import Result, quick_settings, record
from tests.media import FPS, Form
from tests.media_fixtures import Clips, copy_clip

FIRST = 100  # No picture of the stream looks like a black one.
LONG = replace(SMALL, seconds=12, first_frame=FIRST)
SEGMENT_S = 2
PER_SEGMENT = SEGMENT_S * FPS
FILL = quick_settings(gap_policy="fill")

pytestmark = pytest.mark.usefixtures("small_chunks")


async def filled(playlist: Path, folder: Path) -> Result:
    return await record(playlist, folder, settings=FILL)


def lose(playlist: Path, numbers: Sequence[int]) -> None:
    for number in numbers:
        bending.paths(playlist)[number].unlink()


def assert_in_its_place(result: Result, lost: Sequence[int], *, tolerance_s: float = 0.025) -> Seen:
    """Everything is shown when it would be if nothing were lost; the rest is black and silent."""
    seen = look(result.mp4)
    kept = [FIRST + n for n in range(LONG.seconds * FPS) if n // PER_SEGMENT not in lost]
    assert [n for n in seen.numbers if n] == kept
    for number, at in zip(seen.numbers, seen.times_s, strict=True):
        if number:
            assert at == pytest.approx((number - FIRST) / FPS, abs=tolerance_s), number
        else:
            ahead = [at - SEGMENT_S * n for n in lost]
            assert any(-tolerance_s < s < SEGMENT_S + tolerance_s for s in ahead), at
    assert np.diff(seen.times_s).max() < 0.21
    # Nobody knows when the last of the lost pictures would have been shown.
    assert seen.length_s == pytest.approx(LONG.seconds, abs=0.1)
    if seen.ticks_s:
        # Sound lies in the file beside pictures of an earlier or a later time.
        unsure = {SEGMENT_S * (n + side) for n in lost for side in (0, 1)}
        heard = [s for s in range(LONG.seconds) if s // SEGMENT_S not in lost]
        found = [tick for tick in seen.ticks_s if round(tick) not in unsure]
        assert found == pytest.approx([s for s in heard if s not in unsure], abs=tolerance_s)
    assert media.decode_complaints(result.mp4) == ""
    assert [n for n in numbers_by_hls(result) if n] == kept
    verified = CliRunner().invoke(main, ["verify", str(result.mp4)])
    assert verified.exit_code == 0, verified.output
    report = result.report
    assert report["frames_in"] == report["frames_out"]
    return seen


@pytest.mark.parametrize(
    "lost", [(2,), (0,), (5,), (1, 2, 4), (0, 1, 5)], ids=lambda lost: "-".join(map(str, lost))
)
@pytest.mark.parametrize("container", ["mpegts", "fmp4"])
async def test_lost_segments(
    container: str, lost: tuple[int, ...], clips: Clips, tmp_path: Path
) -> None:
    playlist = copy_clip(clips(replace(LONG, container=container)), tmp_path / "in")
    lose(playlist, lost)
    result = await filled(playlist, tmp_path / "out")
    assert_in_its_place(result, lost)
    gaps = {n: 1 for n in lost if n - 1 not in lost}
    for number in lost:
        if number not in gaps:
            gaps[max(n for n in gaps if n < number)] += 1
    assert_completed(result, [(SEGMENT_S * n, SEGMENT_S * k) for n, k in gaps.items()], lost)
    # Reordered pictures are decoded before they are shown: nothing else may lie there.
    assert result.report["filled_s"] == pytest.approx(SEGMENT_S * len(lost), abs=0.1 * len(lost))


@pytest.mark.parametrize(
    "form",
    [
        replace(LONG, video_codec="libx265"),
        replace(LONG, audio_codec="ac3"),
        replace(LONG, audio_codec="libmp3lame"),
        replace(LONG, audio_rate=44_100, b_frames=0),
    ],
    ids=lambda form: f"{form.video_codec}-{form.audio_codec}-{form.audio_rate}",
)
async def test_other_codecs(form: Form, clips: Clips, tmp_path: Path) -> None:
    playlist = copy_clip(clips(form), tmp_path / "in")
    lose(playlist, [3])
    result = await filled(playlist, tmp_path / "out")
    assert_in_its_place(result, [3])


async def test_sound_alone(clips: Clips, tmp_path: Path) -> None:
    playlist = copy_clip(clips(replace(LONG, fps=0)), tmp_path / "in")
    listed = len(bending.paths(playlist))
    lose(playlist, [2])
    result = await filled(playlist, tmp_path / "out")
    seen = look(result.mp4)
    assert seen.length_s == pytest.approx(LONG.seconds, abs=0.1)
    step = LONG.seconds / listed
    assert len(seen.ticks_s) >= LONG.seconds - step - 1
    assert all(abs(at - round(at)) < 0.05 for at in seen.ticks_s)
    assert media.decode_complaints(result.mp4) == ""


async def test_a_clock_that_was_set_during_the_loss(clips: Clips, tmp_path: Path) -> None:
    """The clock behind it tells nothing: what the playlist claims is filled."""
    playlist = copy_clip(clips(LONG), tmp_path / "in")
    lose(playlist, [2])
    for path in bending.paths(playlist)[3:]:
        path.write_bytes(bending.shift_clock(path.read_bytes(), 4_000 * 90_000))
    result = await filled(playlist, tmp_path / "out")
    # Nobody knows how far apart its pictures and its sound are cut.
    assert_in_its_place(result, [2], tolerance_s=0.1)


async def test_an_unlisted_hole(clips: Clips, tmp_path: Path) -> None:
    """Its segments are not in the playlist: the clock alone tells."""
    playlist = copy_clip(clips(LONG), tmp_path / "in")
    entries = bending.entries(playlist)
    bending.write(playlist, entries[:2] + entries[4:])
    result = await filled(playlist, tmp_path / "out")
    assert_in_its_place(result, [2, 3])


async def test_part_of_a_segment(clips: Clips, tmp_path: Path) -> None:
    playlist = copy_clip(clips(LONG), tmp_path / "in")
    path = bending.paths(playlist)[2]
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2 // 188 * 188])
    result = await filled(playlist, tmp_path / "out")
    seen = look(result.mp4)
    assert seen.length_s == pytest.approx(LONG.seconds, abs=0.05)
    for number, at in zip(seen.numbers, seen.times_s, strict=True):
        if number:
            assert at == pytest.approx((number - FIRST) / FPS, abs=0.025), number
    assert 0 in seen.numbers


@pytest.mark.parametrize("lost", [("v", "en"), ("v",), ("en",)], ids="+".join)
async def test_sound_in_a_playlist_of_its_own(lost: tuple[str, ...], tmp_path: Path) -> None:
    folder = tmp_path / "in"
    apart(folder, "ts")
    playlist = master(folder, ['BANDWIDTH=1,AUDIO="a" v/stream.m3u8'], sound("en"))
    for name in lost:
        bending.paths(folder / name / "stream.m3u8")[1].unlink()
    result = await filled(playlist, tmp_path / "out")
    assert result.recording.status is Status.COMPLETED
    seen = look(result.mp4)
    assert seen.length_s == pytest.approx(6, abs=0.1)
    assert np.diff(seen.times_s).max() < 0.21
    shown = [(n, at) for n, at in zip(seen.numbers, seen.times_s, strict=True) if n]
    black = set(range(1, 6 * FPS)) - {n for n, _ in shown}
    assert black == (set(range(PER_SEGMENT, 2 * PER_SEGMENT)) if "v" in lost else set())
    first = seen.times_s[0]
    assert [at for _, at in shown] == pytest.approx([first + n / FPS for n, _ in shown], abs=0.025)
    unsure = {2, 3, 4} if "en" in lost else set()
    heard = [second for second in range(6) if second not in unsure]
    found = [tick for tick in seen.ticks_s if round(tick - first) not in unsure]
    assert found == pytest.approx([first + second for second in heard], abs=0.025)
    verified = CliRunner().invoke(main, ["verify", str(result.mp4)])
    assert verified.exit_code == 0, verified.output
    # The sound's playlist has no hole that a player would stall at.
    with av.open(
        str(result.folder / str(result.recording.object_name) / "audio-1.m3u8"),
        options={"allowed_extensions": "ALL"},
    ) as source:
        steps = np.diff([packet.pts for packet in source.demux(audio=0) if packet.pts is not None])
    assert steps.max() < 2 * steps.min() + 1024


async def test_a_marked_change_is_no_gap(clips: Clips, tmp_path: Path) -> None:
    one = clips(replace(LONG, seconds=6))
    other = clips(replace(LONG, seconds=6, first_frame=FIRST + 150, offset_s=500.0))
    playlist = bending.join([one, other], tmp_path / "in", marked=True)
    result = await filled(playlist, tmp_path / "out")
    assert 0 not in look(result.mp4).numbers
    assert result.report["filled_s"] == 0


async def test_a_clock_far_ahead_is_not_filled(clips: Clips, tmp_path: Path) -> None:
    """Days of nothing because of one wrong timestamp are worth less than a gap that says so."""
    playlist = copy_clip(clips(LONG), tmp_path / "in")
    for path in bending.paths(playlist)[3:]:
        path.write_bytes(bending.shift_clock(path.read_bytes(), 13 * 3600 * 90_000))
    result = await filled(playlist, tmp_path / "out")
    assert result.recording.status is Status.COMPLETED
    assert look(result.mp4).length_s == pytest.approx(LONG.seconds, abs=0.1)
    (gap,) = result.recording.gaps
    assert gap.duration_s == pytest.approx(13 * 3600, abs=1)


async def test_what_cannot_be_filled_is_cut(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filler, "_MOST_PIXELS", 100)
    playlist = copy_clip(clips(LONG), tmp_path / "in")
    lose(playlist, [2])
    filled_one = await filled(playlist, tmp_path / "out")
    cut = await record(playlist, tmp_path / "cut")
    assert filled_one.report["filled_s"] == 0
    assert filled_one.recording.gaps == cut.recording.gaps
    assert filled_one.mp4.read_bytes() == cut.mp4.read_bytes()


async def test_a_long_gap_costs_little(clips: Clips, tmp_path: Path) -> None:
    playlist = copy_clip(clips(LONG), tmp_path / "in")
    for path in bending.paths(playlist)[3:]:
        path.write_bytes(bending.shift_clock(path.read_bytes(), 2 * 3600 * 90_000))
    result = await filled(playlist, tmp_path / "out")
    with av.open(str(result.mp4)) as source:
        assert source.duration == pytest.approx((2 * 3600 + LONG.seconds) * 1e6, abs=1e5)
    whole = await record(playlist, tmp_path / "cut")
    more = result.mp4.stat().st_size - whole.mp4.stat().st_size
    assert more < 2 * 3600 * 1500
    assert result.report["filled_s"] == pytest.approx(2 * 3600, abs=0.1)


async def test_nothing_lost_is_the_same_with_both(clips: Clips, tmp_path: Path) -> None:
    playlist = copy_clip(clips(LONG), tmp_path / "in")
    cut, fill = await record(playlist, tmp_path / "a"), await filled(playlist, tmp_path / "b")
    assert cut.mp4.read_bytes() == fill.mp4.read_bytes()
