"""Clocks that restart, jump, wrap or stumble: one timeline, sound in step (rows 1, 2, 8)."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests import bending, media
from tests.bending import CLOCK_HZ, FIRST_S, WRAP
from tests.hazards.seen import Seen, assert_completed, assert_even, assert_recorded, look
from tests.hazards.streams import SMALL, SMALL_FMP4, X264, encode, encode_hls, listing
from tests.local_pool import record
from tests.media import FPS, Form
from tests.media_fixtures import Clips, copy_clip

KINDS = {"ts": SMALL, "fmp4": SMALL_FMP4}
LATER = SMALL.seconds * FPS
# AAC begins a frame early, and its last frame is filled up.
PART_S = SMALL.seconds + 1.5 * 1024 / 48_000
RESTARTS = {
    "ts-same": (SMALL, (0.0, 0.0, 0.0)),
    "ts-back": (SMALL, (7_200.0, 100.0, 0.5)),
    "fmp4-same": (SMALL_FMP4, (0.0, 0.0, 0.0)),
}


@pytest.fixture(params=["one-chunk", "small-chunks"])
def chunks(request: pytest.FixtureRequest) -> None:
    """Where a clock jumps, a chunk may end or not: nobody should see which."""
    if request.param == "small-chunks":
        request.getfixturevalue("small_chunks")


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("marked", [True, False], ids=["marked", "unmarked"])
@pytest.mark.parametrize(("form", "starts_s"), RESTARTS.values(), ids=RESTARTS.keys())
async def test_an_encoder_that_starts_anew(
    form: Form, starts_s: tuple[float, ...], marked: bool, clips: Clips, tmp_path: Path
) -> None:
    parts = [
        clips(replace(form, offset_s=start_s, first_frame=number * LATER))
        for number, start_s in enumerate(starts_s)
    ]
    playlist = bending.join(parts, tmp_path / "in", marked=marked)
    result = await record(playlist, tmp_path / "out")
    seen = assert_recorded(result, range(3 * LATER), by_hls=False)
    assert_one_timeline(seen, 3)


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("form", KINDS.values(), ids=KINDS.keys())
async def test_a_marked_jump_ahead_misses_nothing(form: Form, clips: Clips, tmp_path: Path) -> None:
    """A source that says that its clock starts anew may start it anywhere (RFC 8216 4.3.2.3)."""
    parts = [clips(form), clips(replace(form, offset_s=50_000.0, first_frame=LATER))]
    playlist = bending.join(parts, tmp_path / "in", marked=True)
    seen = assert_recorded(await record(playlist, tmp_path / "out"), range(2 * LATER))
    assert_one_timeline(seen, 2)


@pytest.mark.usefixtures("chunks")
async def test_a_tag_without_a_jump_changes_nothing(clips: Clips, tmp_path: Path) -> None:
    playlist = copy_clip(clips(SMALL), tmp_path / "in")
    bending.edit(playlist, 1, "#EXT-X-DISCONTINUITY")
    seen = assert_recorded(await record(playlist, tmp_path / "out"), range(LATER))
    assert_one_timeline(seen, 1)


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("marked", [True, False], ids=["marked", "unmarked"])
async def test_sound_that_is_early_in_the_second_part_stays_early(
    marked: bool, clips: Clips, tmp_path: Path
) -> None:
    """Sound goes on 0.6 s before the new pictures: all move by the same time, none overlaps."""
    early = encode_hls(tmp_path / "early", replace(SMALL, first_frame=LATER))
    for path in bending.paths(early):
        sound = bending.without_pids(path.read_bytes(), bending.VIDEO_PID)
        pictures = bending.without_pids(path.read_bytes(), bending.AUDIO_PID)
        late = bending.shift_clock(pictures, round(0.6 * CLOCK_HZ))
        path.write_bytes(sound + late)
    playlist = bending.join([clips(SMALL), early], tmp_path / "in", marked=marked)
    result = await record(playlist, tmp_path / "out")
    assert_completed(result)
    seen = look(result.mp4)
    assert seen.numbers == list(range(2 * LATER))
    for number in range(0, LATER, FPS):
        assert seen.ticks_s[number // FPS] == pytest.approx(seen.at(number), abs=0.005)
        later = number + LATER
        assert seen.ticks_s[later // FPS] == pytest.approx(seen.at(later) - 0.6, abs=0.005)
    assert seen.ticks_s[4] - seen.ticks_s[3] == pytest.approx(1.0, abs=0.05)


# --- row 2 -------------------------------------------------------------------------------------

WRAPS = {
    "between-segments": 2.0,
    "between-segments-sound-late": 2.03,
    "pts-before-dts": 1.04,
    "in-the-middle": 3.5,
    "with-the-first-picture": 0.0,
    "before-the-first-picture": -0.01,
    "with-the-last-picture": 3.96,
}


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("after_s", WRAPS.values(), ids=WRAPS.keys())
async def test_a_clock_that_wraps(after_s: float, clips: Clips, tmp_path: Path) -> None:
    """33 bits are full ``after_s`` behind the first picture."""
    playlist = copy_clip(clips(SMALL), tmp_path / "in")
    full = WRAP - round((FIRST_S + 2 / FPS + after_s) * CLOCK_HZ)
    for path in bending.paths(playlist):
        path.write_bytes(bending.shift_clock(path.read_bytes(), full))
    seen = assert_recorded(await record(playlist, tmp_path / "out"), range(LATER))
    assert_one_timeline(seen, 1)


async def test_a_clock_that_wraps_and_starts_anew(clips: Clips, tmp_path: Path) -> None:
    parts = [copy_clip(clips(SMALL), tmp_path / "first")]
    parts.append(clips(replace(SMALL, first_frame=LATER)))
    for path in bending.paths(parts[0]):
        path.write_bytes(bending.shift_clock(path.read_bytes(), WRAP - 2 * CLOCK_HZ))
    playlist = bending.join(parts, tmp_path / "in", marked=True)
    result = await record(playlist, tmp_path / "out")
    seen = assert_recorded(result, range(2 * LATER), by_hls=False)
    assert_one_timeline(seen, 2)


async def test_a_day_and_three_hours(tmp_path: Path) -> None:
    """Two wraps of the clock, one picture a second, the same minute over and over: as many
    pictures and as long as the source, the last one where it belongs to the millisecond."""
    minutes, folder = 27 * 60, tmp_path / "in"
    video = [*X264, "-g", "60", "-keyint_min", "60"]
    form = Form(seconds=60, fps=1)
    minute = encode(tmp_path / "minute.ts", form, video=video, audio=(), rate="1").read_bytes()
    folder.mkdir()
    start = WRAP - 100 * CLOCK_HZ
    for number in range(minutes):
        moved = bending.shift_clock(minute, start + number * 60 * CLOCK_HZ)
        (folder / f"{number}.ts").write_bytes(moved)
    playlist = listing(folder, [(f"{number}.ts", 60.0) for number in range(minutes)])
    result = await record(playlist, tmp_path / "out")
    assert_completed(result)
    assert result.report["frames_out"] == minutes * 60
    assert result.report["duration_s"] == pytest.approx(minutes * 60, abs=0.001)
    times = [p.pts for p in media.packets(result.mp4)]
    assert sorted(times) == [times[0] + second for second in range(minutes * 60)]


# --- row 8 -------------------------------------------------------------------------------------

UNEVEN = {
    "dropped": (r"select='not(eq(mod(n\,7)\,3)+between(n\,60\,68))'", 0.0),
    "slow-then-fast": (r"select='if(lt(n\,50)\,not(mod(n\,5))\,1)'", 0.0),
    "milliseconds": (r"setpts='floor(N*40+mod(N*7\,23))/1000/TB'", 0.023),
    "one-a-second": (r"select='not(mod(n\,25))'", 0.0),
}


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize(("bend", "jitter_s"), UNEVEN.values(), ids=UNEVEN.keys())
@pytest.mark.parametrize("suffix", ["ts", "m4s"])
async def test_uneven_pictures_keep_their_times(
    bend: str, jitter_s: float, suffix: str, tmp_path: Path
) -> None:
    video = ["-vf", bend, "-fps_mode", "passthrough", "-enc_time_base", "1:90000", *X264]
    video += ["-force_key_frames", "expr:gte(t,n_forced)"]
    playlist = encode_hls(tmp_path / "in", SMALL, suffix=suffix, video=video)
    result = await record(playlist, tmp_path / "out")
    assert_completed(result)
    assert media.decode_complaints(result.mp4) == ""
    source, seen = look(playlist), look(result.mp4)
    assert seen.numbers == source.numbers
    assert len(set(seen.numbers)) == len(seen.numbers) > 3
    for number, at in zip(seen.numbers, seen.times_s, strict=True):
        assert at - seen.times_s[0] == pytest.approx(
            source.at(number) - source.times_s[0], abs=0.001
        )
        if suffix == "ts":  # FFmpeg's fragments begin where it thinks the last picture ended.
            assert at - seen.times_s[0] == pytest.approx(number / FPS, abs=0.001 + jitter_s)
    early_s = source.ticks_s[0] - source.times_s[0]
    assert [at - seen.times_s[0] - early_s for at in seen.ticks_s] == pytest.approx(
        range(SMALL.seconds), abs=0.002
    )


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("rate", ["30000/1001", "24000/1001", "60", "15"])
async def test_other_frame_rates(rate: str, tmp_path: Path) -> None:
    number, _, under = rate.partition("/")
    fps = int(number) / int(under or 1)
    form = Form(seconds=4, fps=round(fps))
    video = [*X264, "-g", str(round(fps)), "-keyint_min", str(round(fps))]
    playlist = encode_hls(tmp_path / "in", form, rate=rate, video=video)
    result = await record(playlist, tmp_path / "out")
    assert_completed(result)
    seen = look(result.mp4)
    assert seen.numbers == list(range(form.seconds * form.fps))
    assert seen.times_s[-1] - seen.times_s[0] == pytest.approx(
        (len(seen.numbers) - 1) / fps, abs=0.001
    )
    assert_even(seen, fps=fps)


def assert_one_timeline(seen: Seen, parts: int) -> None:
    """Without a hole or an overlap, as long as the parts together, to a frame."""
    assert_even(seen, seams=range(0, parts * LATER, LATER))
    assert seen.length_s == pytest.approx(parts * PART_S, abs=1 / FPS)
