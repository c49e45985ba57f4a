"""A whole recording without Ray, read back: the same packets that FFmpeg finds in the stream, every
frame once and in order, sound in step, by plain MP4 and by HLS ranges."""

from pathlib import Path

import pytest

from pipeline.jobs import ChunkJob, JoinJob
from pipeline.model import Status
from pipeline.source import S3Source
from pipeline.stores.objects_memory import MemoryStore
from tests import media
from tests.local_pool import Result, record
from tests.media import FPS, Form
from tests.media_fixtures import Clips, shrink

FORMS = {
    "ts": Form(),
    "ts-44100": Form(audio_rate=44_100),
    "ts-long-gop": Form(gop_s=4.0, segment_s=4.0),
    "ts-far-clock": Form(offset_s=50_000.0),
    "ts-clock-wraps": Form(offset_s=95_437.0),
    "ts-one-file": Form(single_file=True),
    "ts-no-b-frames": Form(b_frames=0),
    "ts-mp3": Form(audio_codec="libmp3lame"),
    "ts-ac3": Form(audio_codec="ac3"),
    "fmp4": Form(container="fmp4"),
    "fmp4-44100": Form(container="fmp4", audio_rate=44_100),
    "fmp4-one-file": Form(container="fmp4", single_file=True),
    "ts-silent": Form(audio_rate=0),
    "fmp4-hevc": Form(container="fmp4", video_codec="libx265"),
    "ts-hevc": Form(video_codec="libx265"),
    "fmp4-av1": Form(container="fmp4", video_codec="libsvtav1"),
    "ts-no-pictures": Form(fps=0),
    "fmp4-no-pictures": Form(fps=0, container="fmp4", audio_rate=44_100),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
@pytest.mark.usefixtures("small_chunks")
async def test_every_frame_and_tick_is_there(form: Form, clips: Clips, tmp_path: Path) -> None:
    source = clips(form)
    result = await record(source, tmp_path / "out")
    assert_whole(result, form)
    assert sum(isinstance(job, ChunkJob) for job in result.jobs) >= 2
    tag = ("-tag:v", "hvc1") if form.video_codec == "libx265" else ()
    reference = media.remux_with_ffmpeg(source, tmp_path / "reference.mp4", *tag)
    # Sound at 44.1 kHz is rounded to the 90 kHz of MPEG-TS and back: by one sample at most.
    # FFmpeg's HLS demuxer times the first two packets alike where MPEG-TS holds sound only.
    is_off = not form.fps and form.container == "mpegts"
    media.assert_same_packets(result.mp4, reference, tolerance_s=0.022 if is_off else 1.5 / 44_100)


@pytest.mark.parametrize("workers", [1, 4])
async def test_staged_chunks_are_joined_and_padded(
    workers: int, clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = Form(noise=True, seconds=48)
    shrink(monkeypatch, part_bytes=130_000, chunk_bytes=150_000)
    result = await record(clips(form), tmp_path / "out", workers=workers)
    joins = [job for job in result.jobs if isinstance(job, JoinJob)]
    chunks = [job for job in result.jobs if isinstance(job, ChunkJob)]
    staged = sum(len(job.staged) for job in joins)
    assert len(joins) >= 2
    assert any(job.padding for job in joins)
    assert max(len(job.staged) for job in joins) >= 2
    assert 2 <= staged < len(chunks)
    assert_whole(result, form)


async def test_the_number_of_workers_does_not_change_a_byte(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink(monkeypatch, part_bytes=130_000, chunk_bytes=150_000)
    made = []
    for workers in (1, 5):
        result = await record(
            clips(Form(noise=True, seconds=48)), tmp_path / str(workers), workers=workers
        )
        files = sorted(p for p in result.folder.rglob("*") if p.is_file())
        made.append([(str(p.relative_to(result.folder)), p.read_bytes()) for p in files])
    assert made[0] == made[1]


async def test_from_bucket_to_bucket(clips: Clips, tmp_path: Path) -> None:
    store = MemoryStore()
    for bucket in ("live", "results"):
        store.ensure_bucket(bucket)
    form = Form()
    playlist = clips(form)
    for path in playlist.parent.iterdir():
        store.put("live", f"key/{path.name}", path.read_bytes(), "")
    source = S3Source(store, "live", "key/stream.m3u8")
    result = await record(source, tmp_path / "out", results=store, bucket="results")
    keys = [found.key for found in store.list("results", "")]
    assert keys == [
        "result.mp4",
        *("result/master.m3u8", "result/poster.jpg"),
        *("result/source.init.mp4", "result/source.m3u8"),
        *("result/storyboard-001.jpg", "result/storyboard.vtt"),
    ]
    assert store.uploads("results", "") == ()
    for key in keys:
        target = result.folder / key
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(store.get("results", key, max_bytes=2**24))
    assert_whole(result, form)


def assert_whole(result: Result, form: Form) -> None:
    """All frames and ticks are there, once, in order and in step, both ways."""
    assert result.recording.error is None
    assert result.recording.status is Status.COMPLETED
    assert result.recording.gaps == ()
    assert result.mp4.stat().st_size == result.recording.file_size
    for way in (result.mp4, result.playlist):
        assert media.decode_complaints(way) == ""
        if form.fps:
            assert media.frame_numbers(way) == list(range(form.seconds * FPS))
    if form.audio_rate:
        ticks = media.tick_times(result.mp4)
        assert len(ticks) == form.seconds
        shown = media.frame_times(result.mp4) if form.fps else None
        for second, tick in enumerate(ticks):
            at = shown[second * FPS] if shown else ticks[0] + second
            assert tick == pytest.approx(at, abs=0.003), second
