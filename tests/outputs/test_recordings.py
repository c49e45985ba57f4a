"""Whole recordings by profiles that encode: every picture, every tick, in every rendition."""

import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import m3u8
import numpy as np
import pytest

from pipeline.jobs import ChunkJob, JoinJob
from pipeline.media import layout
from pipeline.media.fragments import read_fragments
from pipeline.model import Status
from tests import bending, media
from tests.hazards.seen import assert_completed, look
from tests.hazards.streams import SMALL, encode_hls
from tests.hazards.test_master import FORM, apart, master, sound
from tests.local_pool import Result, record
from tests.media import FPS, Form
from tests.media_fixtures import Clips, copy_clip
from tests.outputs.own_profiles import with_profiles

LONG = replace(SMALL, seconds=12)
FRAMES = LONG.seconds * FPS

pytestmark = pytest.mark.usefixtures("small_chunks")


async def made(source: Path, folder: Path, profile: str, **values: object) -> Result:
    return await record(source, folder, profile=profile, settings=with_profiles(folder, **values))


def renditions(result: Result) -> dict[str, Path]:
    """Their MP4s by name."""
    return {
        rendition.name: result.folder / rendition.file_path.lstrip("/")
        for rendition in result.recording.renditions
    }


def assert_all_there(result: Result, numbers: list[int], *, has_sound: bool = True) -> None:
    """In every rendition, as MP4 and by its own playlist; sound in step with the pictures."""
    for name, mp4 in renditions(result).items():
        for way in (mp4, result.beside / f"{name}.m3u8"):
            assert media.decode_complaints(way) == "", way
            assert look(way).numbers == numbers, way
    main = look(result.mp4)
    if has_sound:
        shown = dict(zip(main.numbers, main.times_s, strict=True))
        expected = [shown[n] for n in numbers if n % FPS == 0]
        assert main.ticks_s == pytest.approx(expected, abs=0.005)


def segment_starts(playlist: Path) -> list[float]:
    """The first presentation time in each segment, of any of its tracks, as its bytes say."""
    listed = m3u8.load(str(playlist))
    starts = []
    for segment in listed.segments:
        init = (playlist.parent / segment.init_section.uri).read_bytes()
        length, _, offset = segment.byterange.partition("@")
        with (playlist.parent / segment.uri).open("rb") as file:
            file.seek(int(offset))
            data = init + file.read(int(length))
        tracks = read_fragments(data)[0].tracks
        starts.append(min(track.start_s for track in tracks))
    return starts


FORMS = {
    "ts": LONG,
    "fmp4": replace(LONG, container="fmp4"),
    "far-clock": replace(LONG, offset_s=50_000.0),
    "clock-wraps": replace(LONG, offset_s=95_437.0),
    "hevc": replace(LONG, container="fmp4", video_codec="libx265"),
    "av1": replace(LONG, container="fmp4", video_codec="libsvtav1"),
    "other-sound": replace(LONG, audio_codec="libmp3lame", audio_rate=44_100),
    "silent": replace(LONG, audio_rate=0),
    "long-gop": replace(LONG, gop_s=4.0, segment_s=4.0),
}


@pytest.mark.parametrize("profile", ["steady", "own-times", "ladder", "rungs"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
async def test_every_picture_and_tick(
    form: Form, profile: str, clips: Clips, tmp_path: Path
) -> None:
    result = await made(clips(form), tmp_path / "out", profile)
    assert_completed(result)
    assert sum(isinstance(job, ChunkJob) for job in result.jobs) >= 2
    assert_all_there(result, list(range(FRAMES)), has_sound=bool(form.audio_rate))
    lengths = {round(r["tracks"][0]["duration_s"], 3) for r in result.report["renditions"]}
    assert max(lengths) - min(lengths) < 0.001


async def test_segments_of_all_renditions_begin_together(clips: Clips, tmp_path: Path) -> None:
    result = await made(clips(LONG), tmp_path / "out", "ladder")
    starts = [segment_starts(result.beside / f"{name}.m3u8") for name in renditions(result)]
    assert len(starts) == 3
    assert len(starts[0]) >= 2
    for other in starts[1:]:
        assert other == pytest.approx(starts[0], abs=0.0005)


async def test_the_master_names_all_and_what_they_need(clips: Clips, tmp_path: Path) -> None:
    result = await made(clips(LONG), tmp_path / "out", "ladder")
    listed = m3u8.load(str(result.beside / "master.m3u8"))
    assert [variant.uri for variant in listed.playlists] == [
        "source.m3u8",
        "half.m3u8",
        "third.m3u8",
    ]
    assert [variant.stream_info.resolution for variant in listed.playlists] == [
        (128, 72),
        (96, 54),
        (64, 36),
    ]
    assert {variant.stream_info.audio for variant in listed.playlists} == {"audio"}
    (heard,) = listed.media
    assert heard.uri == "audio-1.m3u8"
    assert len(listed.iframe_playlists) == 3
    # Sound is stored once.
    for name in ("half", "third"):
        with av.open(str(renditions(result)[name])) as source:
            assert [stream.type for stream in source.streams] == ["video"]


async def test_the_best_rendition_is_the_source_packet_for_packet(
    clips: Clips, tmp_path: Path
) -> None:
    result = await made(clips(LONG), tmp_path / "out", "ladder")
    reference = media.remux_with_ffmpeg(clips(LONG), tmp_path / "reference.mp4")
    media.assert_same_packets(result.mp4, reference, tolerance_s=1.5 / 44_100)


@pytest.mark.parametrize("profile", ["ladder", "steady", "threads"])
async def test_the_number_of_workers_does_not_change_a_byte(
    profile: str, clips: Clips, tmp_path: Path
) -> None:
    found = []
    for workers in (1, 4):
        folder = tmp_path / str(workers)
        result = await record(
            clips(LONG), folder, profile=profile, workers=workers, settings=with_profiles(folder)
        )
        files = sorted(p for p in result.folder.rglob("*") if p.is_file())
        found.append([(str(p.relative_to(folder)), p.read_bytes()) for p in files])
    assert found[0] == found[1]


async def test_small_chunks_are_joined_before_the_stream_ends(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "_JOINED_BYTES", 60_000)
    monkeypatch.setattr(layout, "_ENCODED_CHUNK_S", 2.0)
    form = replace(LONG, seconds=48, noise=True)
    result = await made(clips(form), tmp_path / "out", "rungs")
    assert_all_there(result, list(range(form.seconds * FPS)))
    joins = [job for job in result.jobs if isinstance(job, JoinJob)]
    at_the_end = [job for job in joins if job.head]
    assert len(at_the_end) == 2
    assert len(joins) > 4
    last_chunk = max(n for n, job in enumerate(result.jobs) if isinstance(job, ChunkJob))
    assert any(isinstance(job, JoinJob) for job in result.jobs[:last_chunk])


@pytest.mark.parametrize("profile", ["steady", "ladder"])
async def test_open_gops(profile: str, tmp_path: Path) -> None:
    """Pictures at the beginning of a chunk refer to those before it."""
    source = encode_hls(
        tmp_path / "in",
        LONG,
        video=("-c:v", "libx264", "-x264-params", "open-gop=1:keyint=50:min-keyint=50:scenecut=0"),
    )
    result = await made(source, tmp_path / "out", profile)
    assert_completed(result)
    for mp4 in renditions(result).values():
        assert look(mp4).numbers == list(range(FRAMES))


@pytest.mark.parametrize("profile", ["steady", "ladder"])
async def test_a_lost_segment_is_a_gap_in_all(profile: str, clips: Clips, tmp_path: Path) -> None:
    source = copy_clip(clips(LONG), tmp_path / "in")
    bending.paths(source)[2].unlink()
    result = await made(source, tmp_path / "out", profile)
    assert_completed(result, [(4.0, 2.0)], [2])
    kept = [n for n in range(FRAMES) if not 100 <= n < 150]
    assert_all_there(result, kept)


@pytest.mark.parametrize("profile", ["steady", "ladder"])
async def test_gaps_are_filled_in_all(profile: str, clips: Clips, tmp_path: Path) -> None:
    form = replace(LONG, first_frame=100)
    source = copy_clip(clips(form), tmp_path / "in")
    for number in (2, 3):
        bending.paths(source)[number].unlink()
    result = await made(source, tmp_path / "out", profile, gap_policy="fill")
    assert result.recording.status is Status.COMPLETED, result.recording.error
    kept = [100 + n for n in range(FRAMES) if not 100 <= n < 200]
    for mp4 in renditions(result).values():
        seen = look(mp4)
        assert [n for n in seen.numbers if n] == kept
        for number, at in zip(seen.numbers, seen.times_s, strict=True):
            if number:
                assert at - seen.times_s[0] == pytest.approx((number - 100) / FPS, abs=0.025)
        assert np.diff(seen.times_s).max() < 0.21


@pytest.mark.parametrize("marked", [True, False])
async def test_a_clock_that_jumps(marked: bool, clips: Clips, tmp_path: Path) -> None:
    other = replace(LONG, first_frame=FRAMES, offset_s=1000.0)
    source = bending.join([clips(LONG), clips(other)], tmp_path / "in", marked=marked)
    result = await made(source, tmp_path / "out", "ladder")
    assert result.recording.status is Status.COMPLETED, result.recording.error
    for mp4 in renditions(result).values():
        assert look(mp4).numbers == list(range(2 * FRAMES))
    playlists = [m3u8.load(str(result.beside / f"{name}.m3u8")) for name in renditions(result)]
    breaks = [[s.discontinuity for s in listed.segments] for listed in playlists]
    assert breaks[0] == breaks[1] == breaks[2]
    assert any(breaks[0])


async def test_a_size_that_changes_on_the_way(tmp_path: Path) -> None:
    parts = [
        encode_hls(tmp_path / "wide", LONG, video=("-c:v", "libx264", "-g", "25")),
        encode_hls(
            tmp_path / "small",
            replace(LONG, first_frame=FRAMES),
            video=("-c:v", "libx264", "-g", "25", "-vf", "scale=64:36:flags=neighbor"),
        ),
    ]
    source = bending.join(parts, tmp_path / "in", marked=True)
    result = await made(source, tmp_path / "out", "rungs")
    assert_completed(result)
    for name, mp4 in renditions(result).items():
        assert look(mp4).numbers == list(range(2 * FRAMES)), name
        with av.open(str(mp4)) as opened:
            sizes = {(frame.width, frame.height) for frame in opened.decode(video=0)}
        assert len(sizes) == 1, name


@pytest.mark.parametrize(
    "video",
    [
        ("-vf", "scale=127:71:flags=neighbor", "-pix_fmt", "yuv444p"),
        ("-vf", "scale=out_range=pc:flags=neighbor", "-pix_fmt", "yuvj420p"),
        ("-flags", "+ildct+ilme", "-bf", "2"),
    ],
    ids=["odd", "full-range", "interlaced"],
)
async def test_pictures_of_any_kind(video: tuple[str, ...], tmp_path: Path) -> None:
    source = encode_hls(tmp_path / "in", LONG, video=("-c:v", "libx264", "-g", "25", *video))
    result = await made(source, tmp_path / "out", "rungs")
    assert_completed(result)
    for mp4 in renditions(result).values():
        assert look(mp4).numbers == list(range(FRAMES))
        with av.open(str(mp4)) as opened:
            stream = opened.streams.video[0]
            assert (stream.width % 2, stream.height % 2, stream.pix_fmt) == (0, 0, "yuv420p")
            assert not any(frame.interlaced_frame for frame in opened.decode(stream))


async def test_a_gop_longer_than_segments(tmp_path: Path) -> None:
    """Chunks that begin within one have all their pictures."""
    long = ("-c:v", "libx264", "-g", "100", "-sc_threshold", "0", "-bf", "2")
    split = ("-hls_flags", "split_by_time")
    folder = tmp_path / "in"
    source = encode_hls(folder, LONG, segment_s=1.0, video=long, output=split)
    assert len(m3u8.load(str(source)).segments) > FRAMES // 50
    result = await made(source, tmp_path / "out", "rungs")
    assert_completed(result)
    assert_all_there(result, list(range(FRAMES)))


async def test_sound_in_playlists_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    apart(folder, "ts")
    shutil.copytree(folder / "en", folder / "de")
    sounds = [sound("en", LANGUAGE='"en"'), sound("de", LANGUAGE='"de"')]
    source = master(folder, ['BANDWIDTH=1,AUDIO="a" v/stream.m3u8'], *sounds)
    result = await made(source, tmp_path / "out", "ladder")
    assert_completed(result)
    listed = m3u8.load(str(result.beside / "master.m3u8"))
    assert [heard.language for heard in listed.media] == ["en", "de"]
    for mp4 in renditions(result).values():
        assert look(mp4).numbers == list(range(FORM.seconds * FPS))


async def test_an_encoder_that_is_not_there_fails_by_name(clips: Clips, tmp_path: Path) -> None:
    result = await made(clips(LONG), tmp_path / "out", "missing")
    assert result.recording.status is Status.FAILED
    assert "h264_nvenc" in (result.recording.error or "")
    assert [path for path in result.folder.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("codec", ["aac", "libmp3lame"])
async def test_sound_alone(codec: str, clips: Clips, tmp_path: Path) -> None:
    result = await made(clips(replace(LONG, audio_codec=codec)), tmp_path / "out", "audio")
    assert_completed(result)
    m4a = result.folder / "result.m4a"
    with av.open(str(m4a)) as source:
        assert [s.codec_context.codec.canonical_name for s in source.streams] == ["aac"]
    for way in (m4a, result.beside / "audio.m3u8", result.beside / "master.m3u8"):
        ticks = look(way).ticks_s
        assert len(ticks) == LONG.seconds
        assert [b - a for a, b in pairwise(ticks)] == pytest.approx([1.0] * 11, abs=0.005)
