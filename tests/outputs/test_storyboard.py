"""Storyboards of whole recordings, looked at tile by tile."""

import asyncio
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipeline import steps, storyboard
from pipeline.errors import MediaInvalid, StoreUnavailable
from pipeline.jobs import ChunkJob, JoinJob, SheetJob
from pipeline.media import images
from pipeline.model import EventKind, Status
from pipeline.stores.objects_folder import FolderStore
from tests import media
from tests.local_pool import Result, quick_settings, record
from tests.media import FPS, Form
from tests.media_fixtures import Clips, copy_clip
from tests.outputs.several_goes import Told, show
from tests.unit.test_recording_faults import segments

FORM = Form(seconds=24, first_frame=100)
_CUE = re.compile(r"([\d:.]+) --> ([\d:.]+)\n(\S+)#xywh=(\d+),(\d+),(\d+),(\d+)")

pytestmark = pytest.mark.usefixtures("small_chunks")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A cue and its tile. ``number``: on the picture."""

    start_s: float
    end_s: float
    sheet: str
    luma: np.ndarray
    number: int


def seconds(timestamp: str) -> float:
    parts = [float(part) for part in timestamp.split(":")]
    return sum(part * 60**n for n, part in enumerate(reversed(parts)))


def luma_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as source:
        (frame,) = source.decode(video=0)
        assert frame.format.name == "yuvj420p"
        return frame.to_ndarray()[: frame.height]


def read(result: Result) -> list[Shown]:
    return list(_read(result.beside))


def _read(folder: Path) -> Iterator[Shown]:
    text = (folder / "storyboard.vtt").read_text()
    assert text.startswith("WEBVTT\n\n")
    lumas: dict[str, np.ndarray] = {}
    for start, end, sheet, *part in _CUE.findall(text):
        if sheet not in lumas:
            lumas[sheet] = luma_of(folder / sheet)
        x, y, width, height = map(int, part)
        own = lumas[sheet][y : y + height, x : x + width]
        assert own.shape == (height, width)
        number = -1
        if own.shape == (media.HEIGHT, media.WIDTH):
            (number,) = media.read_numbers(own[None])
        yield Shown(
            start_s=seconds(start), end_s=seconds(end), sheet=sheet, luma=own, number=number
        )


def assert_shows(result: Result, *, first_s: float = 0.05) -> list[Shown]:
    """Cues cover the timeline, and each begins when its picture is shown; the first one before."""
    assert result.recording.status is Status.COMPLETED
    shown = read(result)
    told = result.report["storyboard"]
    assert told["file_path"].endswith(f"/{result.recording.object_name}/storyboard.vtt")
    assert told["tiles"] == len(shown)
    assert told["sheets"] == len({cue.sheet for cue in shown})
    assert shown[0].start_s == 0
    assert shown[-1].end_s == pytest.approx(result.report["duration_s"], abs=0.001)
    assert [cue.end_s for cue in shown[:-1]] == [cue.start_s for cue in shown[1:]]
    times = media.frame_times(result.mp4)
    assert times[shown[0].number] <= first_s
    for cue in shown[1:]:
        assert cue.start_s == pytest.approx(times[cue.number], abs=0.0015), cue.number
    return shown


@pytest.mark.parametrize(
    "form",
    [
        FORM,
        replace(FORM, container="fmp4", video_codec="libx265"),
        replace(FORM, container="fmp4", video_codec="libsvtav1"),
        replace(FORM, audio_rate=0, b_frames=0),
        replace(FORM, offset_s=95_437.0),
    ],
    ids=["ts", "hevc", "av1", "silent", "clock-wraps"],
)
async def test_each_tile_is_what_is_shown_then(form: Form, clips: Clips, tmp_path: Path) -> None:
    shown = assert_shows(await record(clips(form), tmp_path / "out"))
    assert len(shown) == 12
    assert [round(cue.start_s) for cue in shown] == list(range(0, 24, 2))


@pytest.mark.parametrize("profile", ["h264", "abr"])
async def test_profiles_that_encode(profile: str, clips: Clips, tmp_path: Path) -> None:
    result = await record(clips(FORM), tmp_path / "out", profile=profile)
    assert len(assert_shows(result)) == 12


async def test_keyframes_that_are_far_apart(clips: Clips, tmp_path: Path) -> None:
    form = replace(FORM, gop_s=4.0, segment_s=4.0)
    shown = assert_shows(await record(clips(form), tmp_path / "out"))
    assert [round(cue.start_s) for cue in shown] == list(range(0, 24, 4))


def small_sheets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four tiles on each, one every 2 s, settled after 8 s."""
    monkeypatch.setattr(storyboard, "_COLUMNS", 2)
    monkeypatch.setattr(storyboard, "_ROWS", 2)
    monkeypatch.setattr(storyboard, "_STEPS", ((1, 8.0), (2, float("inf"))))


async def test_several_sheets_are_the_same_whoever_makes_them(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_sheets(monkeypatch)
    made = []
    for workers in (1, 4):
        result = await record(
            clips(replace(FORM, seconds=28)), tmp_path / str(workers), workers=workers
        )
        shown = assert_shows(result)
        assert len(shown) == 14
        assert [cue.sheet for cue in shown[::4]] == [f"storyboard-00{n}.jpg" for n in (1, 2, 3, 4)]
        drawn = [job for job in result.jobs if isinstance(job, SheetJob)]
        copied = [job for job in result.jobs if isinstance(job, JoinJob) and not job.number]
        assert (len(drawn), len(copied)) == (4, 3)
        assert (drawn[-1].columns, drawn[-1].rows) == (2, 1)
        files = sorted(result.beside.glob("storyboard*"))
        made.append([(path.name, path.read_bytes()) for path in files])
        assert [p for p in result.folder.rglob(".vodray/**/*") if p.is_file()] == []
    assert len(made[0]) == 5
    assert made[0] == made[1]


class Forgetful(FolderStore):
    """Loses staged tiles, as if somebody had deleted them, once the first part is completed."""

    def __init__(self, folder: Path, lost: Callable[[str], bool]) -> None:
        super().__init__(folder)
        self._lost = lost

    def complete_upload(self, bucket: str, key: str, *rest: Any) -> Any:
        staged = [found.key for found in self.list(bucket, ".vodray/")]
        self.delete(bucket, [key for key in staged if "/storyboard/" in key and self._lost(key)])
        return super().complete_upload(bucket, key, *rest)


async def test_sheets_and_strips_that_are_gone(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sheet is made again from its strips; a tile whose strip is gone as well is left out."""
    small_sheets(monkeypatch)
    out = tmp_path / "out"
    out.mkdir()
    gone = ("storyboard-002.jpg", "/000002", "/000001")
    result = await record(clips(FORM), out, results=Forgetful(out, lambda key: key.endswith(gone)))
    shown = assert_shows(result)
    missing = set(range(0, 24, 2)) - {round(cue.start_s) for cue in shown}
    chunks = {chunk["chunk"]: chunk["segments"] for chunk in result.report["chunks"]}
    lost_s = {2 * segment for n in (1, 2) for segment in chunks[n]}
    # Those of sheets that are still there are shown all the same.
    assert missing == {at for at in lost_s if 8 <= at < 16} != set()
    nothing = await record(
        clips(FORM),
        tmp_path / "nothing",
        results=Forgetful(tmp_path / "nothing", lambda key: True),
    )
    assert nothing.recording.status is Status.COMPLETED
    assert nothing.report["storyboard"] == {"absent": "none of its tiles are there"}


async def test_a_damaged_keyframe_costs_its_tile(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, calls = images.decode_keyframe, []

    def damaged(*given: Any) -> Any:
        calls.append(given)
        if len(calls) in (3, 4):
            raise MediaInvalid("keyframe gives no whole picture")
        return decode(*given)

    monkeypatch.setattr("pipeline.keyframes.decode_keyframe", damaged)
    result = await record(clips(FORM), tmp_path / "out", workers=1)
    shown = assert_shows(result)
    reasons = [lost["reason"] for lost in result.report["storyboard"]["left_out"]]
    assert reasons == ["keyframe gives no whole picture"] * len(reasons)
    assert 1 <= len(reasons) <= 2
    assert 10 <= len(shown) <= 11


async def test_nothing_decodes(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: Any) -> Any:
        raise MediaInvalid("keyframe gives no whole picture")

    monkeypatch.setattr("pipeline.keyframes.decode_keyframe", damaged)
    result = await record(clips(FORM), tmp_path / "out")
    told = result.report["storyboard"]
    assert result.recording.status is Status.COMPLETED
    assert told["absent"] == "none of its tiles are there"
    assert {lost["reason"] for lost in told["left_out"]} == {"keyframe gives no whole picture"}
    assert not list(result.beside.glob("storyboard*"))


async def test_whatever_goes_wrong_costs_nothing_else(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("pipeline.strip.draw_tile", broken)
    result = await record(clips(FORM), tmp_path / "out")
    assert result.recording.status is Status.COMPLETED
    told = result.report["storyboard"]
    assert told["left_out"][0]["reason"].startswith("internal error: ZeroDivisionError")
    monkeypatch.undo()

    small_sheets(monkeypatch)
    monkeypatch.setattr(steps, "draw_sheet", broken)
    result = await record(clips(FORM), tmp_path / "again")
    assert result.recording.status is Status.COMPLETED
    assert result.report["storyboard"] == {"absent": "ZeroDivisionError"}
    assert not list(result.beside.glob("storyboard*"))


async def test_strips_that_cannot_be_stored(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = steps.store

    def full(url: str, *given: Any, **named: Any) -> str:
        if "/storyboard/" in url:
            raise StoreUnavailable("the disk is full")
        return store(url, *given, **named)

    monkeypatch.setattr(steps, "store", full)
    result = await record(clips(FORM), tmp_path / "out")
    assert result.recording.status is Status.COMPLETED
    assert result.recording.gaps == ()
    told = result.report["storyboard"]
    assert told["absent"] == "none of its tiles are there"
    assert {lost["reason"] for lost in told["left_out"]} == {"the disk is full"}


@pytest.mark.parametrize("profile", ["copy", "audio"])
async def test_sound_only(profile: str, clips: Clips, tmp_path: Path) -> None:
    form = replace(FORM, fps=0) if profile == "copy" else FORM
    result = await record(clips(form), tmp_path / "out", profile=profile)
    assert result.recording.status is Status.COMPLETED
    assert result.report["storyboard"] == {"absent": "no pictures in it"}
    assert not list(result.beside.glob("storyboard*"))


@pytest.mark.parametrize("policy", ["cut", "fill"])
async def test_gaps(policy: str, clips: Clips, tmp_path: Path) -> None:
    playlist = copy_clip(clips(FORM), tmp_path / "in")
    for number in (4, 5, 6):
        segments(playlist)[number].unlink()
    settings = quick_settings(gap_policy=policy)
    result = await record(playlist, tmp_path / "out", settings=settings)
    if policy == "cut":
        shown = assert_shows(result)
        assert {(cue.number - 100) // 50 for cue in shown} == {0, 1, 2, 3, 7, 8, 9, 10, 11}
        return
    shown = read(result)
    assert shown[-1].end_s == pytest.approx(24, abs=0.1)
    for cue in shown:
        if cue.number:
            assert cue.start_s == pytest.approx((cue.number - 100) / FPS, abs=0.05)
        else:
            assert 7.9 < cue.start_s < 14
    assert not all(cue.number for cue in shown)


async def test_a_clock_that_jumps(clips: Clips, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    playlist = copy_clip(clips(FORM), folder)
    lines = [line for line in playlist.read_text().splitlines() if line != "#EXT-X-ENDLIST"]
    later = clips(replace(FORM, first_frame=700, offset_s=3_600.0))
    for number, segment in enumerate(segments(later)):
        shutil.copyfile(segment, folder / f"later_{number}.ts")
        lines += ["#EXTINF:2.000000,", f"later_{number}.ts"]
    playlist.write_text("\n".join([*lines, "#EXT-X-ENDLIST", ""]))
    shown = assert_shows(await record(playlist, tmp_path / "out"))
    assert max(b.start_s - a.start_s for a, b in pairwise(shown)) < 6.1


async def test_another_shape_on_the_way(clips: Clips, tmp_path: Path) -> None:
    """It is shown whole, with black beside it."""
    folder = tmp_path / "in"
    playlist = copy_clip(clips(FORM), folder)
    for segment in segments(playlist)[6:]:
        bent = segment.with_suffix(".bent.ts")
        media.ffmpeg(
            *("-copyts", "-i", segment, "-vf", "scale=72:72,setsar=1", "-c:v", "libx264"),
            *("-g", "25", "-c:a", "copy", "-muxdelay", "0", "-f", "mpegts", bent),
        )
        bent.replace(segment)
    result = await record(playlist, tmp_path / "out")
    assert result.recording.status is Status.COMPLETED
    shown = read(result)
    assert {cue.luma.shape for cue in shown} == {(72, 128)}
    for cue in shown:
        sides = np.concatenate([cue.luma[:, :20], cue.luma[:, -20:]], axis=1)
        assert (sides.max() < 16) == (cue.start_s > 11.5), cue.start_s
        assert cue.luma[:, 30:98].max() > 150


async def test_pixels_that_are_not_square(clips: Clips, tmp_path: Path) -> None:
    """Tiles and the poster have the shape that is shown."""
    folder = tmp_path / "in"
    playlist = copy_clip(clips(FORM), folder)
    for segment in segments(playlist):
        bent = segment.with_suffix(".bent.ts")
        media.ffmpeg(
            *("-copyts", "-i", segment, "-c", "copy", "-bsf:v"),
            *("h264_metadata=sample_aspect_ratio=3/4", "-muxdelay", "0", "-f", "mpegts", bent),
        )
        bent.replace(segment)
    result = await record(playlist, tmp_path / "out")
    assert {cue.luma.shape for cue in read(result)} == {(72, 96)}
    assert luma_of(result.beside / "poster.jpg").shape == (72, 96)


async def test_keyframes_at_borders_are_decoded_once(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, entries = images.decode_keyframe, []

    def counted(*given: Any) -> Any:
        entries.append(given[1])
        return decode(*given)

    monkeypatch.setattr("pipeline.keyframes.decode_keyframe", counted)
    result = await record(clips(FORM), tmp_path / "out")
    assert sum(isinstance(job, ChunkJob) for job in result.jobs) >= 4
    assert len(entries) == len(set(entries)) == 22


# --- recordings that are interrupted, or go on ---


def storyboard_files(result: Result) -> list[tuple[str, bytes]]:
    return [(path.name, path.read_bytes()) for path in sorted(result.beside.glob("storyboard*"))]


async def test_a_stream_that_is_back(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The storyboard is made anew over all of it, of sheets that are there already."""
    small_sheets(monkeypatch)
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    told = Told(out)
    await told.catalog.open()
    recording_id = await told.tell(EventKind.STARTED, 30)
    await told.tell(EventKind.ENDED, 20)
    first = await told.make(recording_id, show(clips(FORM), source, 6))
    assert len(assert_shows(first)) == 6
    assert first.recording.resumable
    assert await told.tell(EventKind.STARTED, 10) == recording_id
    whole = await told.make(recording_id, show(clips(FORM), source, 12))
    assert len(assert_shows(whole)) == 12
    drawn = [job for job in whole.jobs if isinstance(job, SheetJob)]
    assert len(drawn) == 2
    undisturbed = await record(clips(FORM), tmp_path / "undisturbed")
    assert storyboard_files(whole) == storyboard_files(undisturbed)
    await told.catalog.close()


async def test_a_supervisor_that_dies(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the ledger and the staged objects tell is enough to go on."""
    small_sheets(monkeypatch)
    out = tmp_path / "out"
    out.mkdir()
    told = Told(out)
    await told.catalog.open()
    recording_id = await told.tell(EventKind.STARTED, 30)
    dying = asyncio.create_task(told.make(recording_id, clips(FORM), until_chunks=5))
    async with asyncio.timeout(30):
        while not list(out.rglob("storyboard-002.jpg")):
            await asyncio.sleep(0.01)
    dying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dying
    await told.tell(EventKind.ENDED, 0)
    whole = await told.make(recording_id, clips(FORM))
    assert len(assert_shows(whole)) == 12
    assert len([job for job in whole.jobs if isinstance(job, SheetJob)]) == 1
    undisturbed = await record(clips(FORM), tmp_path / "undisturbed")
    assert storyboard_files(whole) == storyboard_files(undisturbed)
    await told.catalog.close()
