"""Master playlists: the best variant, all sound, in step with the pictures (row 12)."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import av
import pytest

from pipeline.model import Status
from tests import bending, media
from tests.bending import CLOCK_HZ
from tests.hazards.seen import Seen, assert_completed, look, ticks
from tests.hazards.streams import AAC, SMALL, encode, encode_hls, segmented
from tests.hazards.unreliable import Unreliable, serving, unreliable
from tests.local_pool import Result, quick_settings, record
from tests.media import FPS, Form

FORM = replace(SMALL, seconds=6)
FRAMES = FORM.seconds * FPS

pytestmark = pytest.mark.usefixtures("small_chunks")


def master(folder: Path, variants: Sequence[str], *lines: str) -> Path:
    """``variants``: attributes and URI of each, split at a blank."""
    listed = [f"#EXT-X-STREAM-INF:{v.partition(' ')[0]}\n{v.partition(' ')[2]}" for v in variants]
    path = folder / "master.m3u8"
    path.write_text("\n".join(["#EXTM3U", "#EXT-X-VERSION:6", *lines, *listed, ""]))
    return path


def sound(name: str, group: str = "a", **attributes: str) -> str:
    more = "".join(f",{key.replace('_', '-')}={value}" for key, value in attributes.items())
    return (
        f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="{group}",NAME="{name}"{more},URI="{name}/stream.m3u8"'
    )


def split(folder: Path, track: str, whole: Path, *, suffix: str, segment_s: float = 2.0) -> Path:
    """One track of a file as HLS, at the times that it has there."""
    options, playlist = segmented(folder, suffix, segment_s)
    times = ["-copyts", "-avoid_negative_ts", "disabled"]
    media.ffmpeg("-i", whole, "-map", track, "-c", "copy", *times, *options, playlist)
    return playlist


def apart(folder: Path, suffix: str, *, segment_s: float = 2.0) -> None:
    """``v`` and ``en``: pictures and sound of the same stream, each in a playlist of its own."""
    whole = encode(folder / "whole.nut", FORM, output=["-f", "nut", "-output_ts_offset", "10"])
    split(folder / "v", "0:v", whole, suffix=suffix)
    split(folder / "en", "0:a", whole, suffix=suffix, segment_s=segment_s)


def pack(playlist: Path, least_bytes: int = 4_000) -> None:
    """Sound as ADTS with the time in an ID3 tag (RFC 8216 3.4), as Apple's tools write it; without
    a last segment that is smaller than ``least_bytes``."""
    listed = bending.entries(playlist)
    whole = [e for e in listed if (playlist.parent / e.uri).stat().st_size >= least_bytes]
    bending.write(playlist, whole)
    for path in bending.paths(playlist):
        with av.open(str(path)) as source:
            first = next(p for p in source.demux(audio=0) if p.pts is not None)
            at = round(float(first.pts * first.time_base) * CLOCK_HZ)
        adts, _ = media.ffmpeg("-i", path, "-c", "copy", "-f", "adts", "-write_id3v2", "0", "-")
        path.write_bytes(bending.id3_timestamp(at) + adts)


@pytest.mark.parametrize("segment_s", [2.0, 1.7, 6.0])
@pytest.mark.parametrize("form", ["ts", "m4s", "packed"])
async def test_sound_in_a_playlist_of_its_own(form: str, segment_s: float, tmp_path: Path) -> None:
    """Also where its segments are cut elsewhere than those of the pictures."""
    folder = tmp_path / "in"
    apart(folder, "ts" if form == "packed" else form, segment_s=segment_s)
    if form == "packed":
        pack(folder / "en" / "stream.m3u8")
    playlist = master(folder, ['BANDWIDTH=1,AUDIO="a" v/stream.m3u8'], sound("en"))
    seen = await check(playlist, tmp_path)
    in_step(seen, seen.ticks_s)


@pytest.mark.parametrize("suffix", ["ts", "m4s"])
async def test_several_languages(suffix: str, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    apart(folder, suffix)
    other = encode(
        folder / "de.nut",
        FORM,
        audio=["-af", "adelay=200:all=1", *AAC],
        output=["-f", "nut", "-output_ts_offset", "10"],
    )
    split(folder / "de", "0:a", other, suffix=suffix)
    playlist = master(
        folder,
        ['BANDWIDTH=1,AUDIO="a" v/stream.m3u8'],
        sound("en", LANGUAGE='"en"', DEFAULT="YES"),
        sound("de", LANGUAGE='"de"'),
    )
    result = await record(playlist, tmp_path / "out")
    seen = await check_result(result)
    in_step(seen, ticks(result.mp4, 0))
    later = ticks(result.mp4, 1)
    assert later == pytest.approx([at + 0.2 for at in seen.ticks_s], abs=0.01)


@pytest.mark.parametrize("suffix", ["ts", "m4s"])
@pytest.mark.parametrize("late_s", [1.5, -1.5])
async def test_sound_that_begins_at_another_time(
    late_s: float, suffix: str, tmp_path: Path
) -> None:
    """Both playlists tell times of one clock: sound that is late or early stays so."""
    folder = tmp_path / "in"
    apart(folder, suffix)
    other = encode(
        folder / "a.nut", FORM, output=["-f", "nut", "-output_ts_offset", str(10 + late_s)]
    )
    shutil.rmtree(folder / "en")
    split(folder / "en", "0:a", other, suffix=suffix)
    playlist = master(folder, ['BANDWIDTH=1,AUDIO="a" v/stream.m3u8'], sound("en"))
    seen = await check(playlist, tmp_path)
    for second, tick in enumerate(seen.ticks_s):
        assert tick == pytest.approx(seen.times_s[0] + late_s + second, abs=1 / FPS)


async def test_the_best_variant_and_its_sound(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    apart(folder, "ts")
    encode_hls(folder / "low", Form(seconds=6, first_frame=1000), audio=())
    playlist = master(
        folder,
        [
            'BANDWIDTH=90000,RESOLUTION=64x36,AUDIO="bad" low/stream.m3u8',
            'BANDWIDTH=300000,RESOLUTION=128x72,AUDIO="good",CODECS="avc1.64000a" v/stream.m3u8',
            'BANDWIDTH=100000,RESOLUTION=128x72,AUDIO="bad" low/stream.m3u8',
        ],
        sound("nowhere", "bad"),
        sound("en", "good"),
    )
    in_step(seen := await check(playlist, tmp_path), seen.ticks_s)


def two_variants(folder: Path) -> Path:
    """The better one with FORM's pictures; the other one is live, and numbered from 1000 on."""
    encode_hls(folder / "high", FORM)
    low = encode_hls(folder / "low", Form(seconds=6, first_frame=1000))
    low.write_text(low.read_text().replace("#EXT-X-ENDLIST", ""))
    return master(
        folder,
        [
            "BANDWIDTH=90000,RESOLUTION=64x36 low/stream.m3u8",
            "BANDWIDTH=300000,RESOLUTION=128x72 high/stream.m3u8",
        ],
    )


async def live(server: Unreliable, out: Path) -> Result:
    settings = quick_settings(
        monitor_interval=timedelta(milliseconds=50), stall_timeout=timedelta(seconds=1.5)
    )
    return await record(server.source("master.m3u8"), out, follow=True, settings=settings)


@pytest.mark.parametrize("first", [("404",), ("404", "404"), ("403",), ("html",)])
async def test_the_best_variant_that_is_not_there_at_once_is_waited_for(
    first: tuple[str, ...], tmp_path: Path
) -> None:
    """An encoder does not write the playlists of all variants at the same moment."""
    two_variants(tmp_path / "in")
    acts = {"high/stream.m3u8": (*first, "well")}
    with unreliable(tmp_path / "in", acts) as server:
        result = await live(server, tmp_path / "out")
    seen = await check_result(result)
    assert seen.numbers == list(range(FRAMES))
    assert result.report["dropped_streams"] == []


@pytest.mark.parametrize("why", ["404", "it lists nothing"])
async def test_the_best_variant_that_never_comes_is_told_of(why: str, tmp_path: Path) -> None:
    playlist = two_variants(tmp_path / "in")
    if why != "404":
        high = playlist.parent / "high" / "stream.m3u8"
        high.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n")
    acts = {"high/stream.m3u8": (why if why == "404" else "well",)}
    with unreliable(playlist.parent, acts) as server:
        result = await live(server, tmp_path / "out")
    assert_completed(result)
    assert look(result.mp4).numbers == list(range(1000, 1000 + FRAMES))
    (told,) = result.report["dropped_streams"]
    assert told.startswith("variant of 128x72 at 300000 bit/s: ")
    assert ("is not there (404)" if why == "404" else "lists no segments") in told


async def test_a_playlist_of_sound_that_hangs_holds_nothing_up(tmp_path: Path) -> None:
    """The window of the pictures moves on: they are captured meanwhile, the sound later."""
    folder = tmp_path / "in"
    apart(folder, "ts")
    master(folder, ['BANDWIDTH=1,AUDIO="a" v/stream.m3u8'], sound("en"))
    asked: list[float] = []

    class Watched(Unreliable):
        def act(self, name: str) -> str:
            if name == "v/seg_00000.ts":
                asked.append(time.monotonic())
            return super().act(name)

    begin = time.monotonic()
    with serving(Watched(folder, {"en/stream.m3u8": ("wait:9", "well")})) as server:
        result = await live(server, tmp_path / "out")
    assert asked[0] - begin < 7
    in_step(seen := await check_result(result), seen.ticks_s)


async def test_subtitles_i_frames_and_other_lines_do_not_disturb(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    encode_hls(folder / "v", FORM)
    playlist = master(
        folder,
        ['BANDWIDTH=1,SUBTITLES="s",CLOSED-CAPTIONS="c",VIDEO="x",AUDIO="b" v/stream.m3u8'],
        '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="s",NAME="en",LANGUAGE="en",URI="none.m3u8"',
        '#EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID="c",NAME="cc",INSTREAM-ID="CC1"',
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="b",NAME="main",DEFAULT=YES',
        '#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI="iframes.m3u8"',
        '#EXT-X-SESSION-DATA:DATA-ID="x",VALUE="y"',
        "#EXT-X-INDEPENDENT-SEGMENTS",
    )
    in_step(seen := await check(playlist, tmp_path), seen.ticks_s)


@pytest.mark.parametrize("offset_s", [10.0, 37.4])
async def test_sound_that_tells_no_time_begins_with_the_pictures(
    offset_s: float, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    output = ["-f", "nut", "-output_ts_offset", str(offset_s)]
    whole = encode(folder / "whole.nut", FORM, output=output)
    split(folder / "v", "0:v", whole, suffix="ts")
    sounds = split(folder / "en", "0:a", whole, suffix="ts")
    for path in bending.paths(sounds):
        data, _ = media.ffmpeg("-i", path, "-c", "copy", "-f", "adts", "-")
        path.write_bytes(data)
    playlist = master(folder, ['BANDWIDTH=1,AUDIO="a" v/stream.m3u8'], sound("en"))
    result = await record(playlist, tmp_path / "out")
    assert_completed(result)
    seen = look(result.mp4)
    assert seen.numbers == list(range(FRAMES))
    # The clock begins with what is decoded first, two pictures before one is shown.
    expected = [seen.at(second * FPS) for second in range(FORM.seconds)]
    assert seen.ticks_s == pytest.approx(expected, abs=0.12)


@pytest.mark.parametrize("track", ["v", "en"])
@pytest.mark.parametrize("suffix", ["ts", "m4s"])
async def test_first_segments_that_are_missing_move_nothing(
    suffix: str, track: str, tmp_path: Path
) -> None:
    """More of them than clocks may be apart: what is there says when it is, all the same."""
    folder = tmp_path / "in"
    form = replace(SMALL, seconds=18)
    whole = encode(folder / "whole.nut", form, output=["-f", "nut", "-output_ts_offset", "10"])
    for name, stream in (("v", "0:v"), ("en", "0:a")):
        split(folder / name, stream, whole, suffix=suffix)
    for path in bending.paths(folder / track / "stream.m3u8")[:6]:
        path.unlink()
    playlist = master(folder, ['BANDWIDTH=1,AUDIO="a" v/stream.m3u8'], sound("en"))
    result = await record(playlist, tmp_path / "out")
    assert result.recording.status is Status.COMPLETED
    seen = look(result.mp4)
    first = 12 * FPS if track == "v" else 0
    assert seen.numbers == list(range(first, form.seconds * FPS))
    heard = range(12 if track == "en" else 0, form.seconds)
    zero_s = seen.times_s[0] - first / FPS
    assert seen.ticks_s == pytest.approx([zero_s + second for second in heard], abs=0.05)


@pytest.mark.parametrize("missing", [0, 1])
async def test_a_sound_segment_that_is_missing_is_a_gap_of_sound(
    missing: int, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    apart(folder, "ts")
    bending.paths(folder / "en" / "stream.m3u8")[missing].unlink()
    playlist = master(folder, ['BANDWIDTH=1,AUDIO="a" v/stream.m3u8'], sound("en"))
    result = await record(playlist, tmp_path / "out")
    assert result.recording.status is Status.COMPLETED
    assert len(result.recording.gaps) == 1
    assert result.recording.gaps[0].duration_s == pytest.approx(2.0, abs=0.1)
    seen = look(result.mp4)
    assert seen.numbers == list(range(FRAMES))
    heard = [second for second in range(FORM.seconds) if second // 2 != missing]
    assert seen.ticks_s == pytest.approx([seen.at(s * FPS) for s in heard], abs=0.02)


async def test_only_i_frames_is_named(tmp_path: Path) -> None:
    playlist = encode_hls(tmp_path / "in", FORM)
    bending.write(playlist, bending.entries(playlist), "#EXT-X-I-FRAMES-ONLY")
    result = await record(playlist, tmp_path / "out")
    assert result.recording.status is Status.FAILED
    assert "I-FRAMES-ONLY" in str(result.recording.error)


async def test_a_packed_sound_only_stream(tmp_path: Path) -> None:
    apart(tmp_path / "in", "ts")
    playlist = tmp_path / "in" / "en" / "stream.m3u8"
    pack(playlist)
    result = await record(playlist, tmp_path / "out")
    assert_completed(result)
    assert len(ticks(result.mp4)) == FORM.seconds


async def check(playlist: Path, folder: Path) -> Seen:
    return await check_result(await record(playlist, folder / "out"))


async def check_result(result: Result) -> Seen:
    assert_completed(result)
    assert media.decode_complaints(result.mp4) == ""
    seen = look(result.mp4)
    assert seen.numbers == list(range(FRAMES))
    assert len(seen.ticks_s) == FORM.seconds
    return seen


def in_step(seen: Seen, heard: Sequence[float]) -> None:
    """Under one frame apart."""
    pictures = [seen.at(number) for number in range(0, FRAMES, FPS)]
    assert heard == pytest.approx(pictures, abs=0.9 / FPS)
