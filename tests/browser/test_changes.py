"""What changes in the middle of a stream goes on playing in Chromium, pictures and sound."""

import asyncio
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import Page

from tests.bending import paths
from tests.browser.test_playback import Opener, Vod, open_file, open_hls, without_a_stall
from tests.local_pool import Result, quick_settings, record
from tests.media import FPS, Form, ffmpeg, frame_numbers, make_hls
from tests.range_server import served

pytestmark = pytest.mark.timeout(120)

PART_S = 1
# No clock of a stream begins at 0, and none may begin before it.
CLOCK_S = 10

# FFmpeg's options per part.
H264 = ("-c:v", "libx264", "-preset", "veryfast", "-bf", "2")
HEVC = ("-c:v", "libx265", "-preset", "veryfast", "-x265-params", "log-level=none")
AV1 = ("-c:v", "libsvtav1", "-preset", "12")
SMALL, LARGE = ("-s", "128x72"), ("-s", "256x144")
SOUND = ("-c:a", "aac", "-ac", "2")
# Each part's sound is a tone of 0.09 (RMS, full scale 1).
HEARD = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """``parts``: FFmpeg's options for each second. ``tagged``: with EXT-X-DISCONTINUITY between
    them. ``sizes``: of the pictures, by part. ``sounds``: which parts have sound. ``lost``:
    parts that are missing, and filled."""

    parts: Sequence[Sequence[str]]
    container: str = "mpegts"
    tagged: bool = False
    sizes: Sequence[tuple[int, int]] = ((128, 72),) * 3
    sounds: Sequence[bool] = (True,) * 3
    lost: Sequence[int] = ()


_THERE_AND_BACK = ((128, 72), (256, 144), (128, 72))
KINDS = {
    "resolution": Kind(
        parts=((*H264, *SMALL, *SOUND), (*H264, *LARGE, *SOUND), (*H264, *SMALL, *SOUND)),
        sizes=_THERE_AND_BACK,
        tagged=True,
    ),
    "parameter sets, untagged": Kind(
        parts=(
            # Pictures that are reordered by turns cost a pause: decode times must not go back.
            (*H264, "-bf", "0", *SOUND),
            (*H264, "-profile:v", "baseline", "-refs", "1", "-r", str(2 * FPS), *SOUND),
            (*H264, "-bf", "0", "-flags", "+ildct+ilme", *SOUND),
        ),
    ),
    "resolution, fMP4": Kind(
        parts=((*H264, *SMALL, *SOUND), (*H264, *LARGE, *SOUND), (*H264, *SMALL, *SOUND)),
        sizes=_THERE_AND_BACK,
        container="fmp4",
        tagged=True,
    ),
    "codec of the pictures": Kind(
        parts=((*H264, *SOUND), (*HEVC, *SOUND), (*H264, *SOUND)), tagged=True
    ),
    "codec of the sound": Kind(
        parts=((*H264, *SOUND), (*H264, "-c:a", "ac3"), (*H264, *SOUND)), tagged=True
    ),
    "AV1 resolution, fMP4": Kind(
        parts=((*AV1, *SMALL, *SOUND), (*AV1, *LARGE, *SOUND), (*AV1, *SMALL, *SOUND)),
        sizes=_THERE_AND_BACK,
        container="fmp4",
        tagged=True,
    ),
}
KINDS |= {
    f"a gap that is filled, {container}": Kind(
        # In a file of three seconds Chromium plays the sound of another one.
        parts=((*H264, *SOUND),) * 7,
        sizes=((128, 72),) * 7,
        sounds=(True,) * 3 + (False,) + (True,) * 3,
        container=container,
        lost=(3,),
    )
    for container in ("mpegts", "fmp4")
}
# hls.js knows the tracks of the first part alone.
FILE_ONLY = {
    "sound comes late and ends early": Kind(
        parts=((*H264, "-an"), (*H264, *SOUND), (*H264, "-an")),
        sounds=(False, True, False),
        tagged=True,
    ),
    "pictures pause": Kind(
        parts=((*H264, *SOUND), ("-vn", *SOUND), (*H264, *SOUND)),
        sizes=((128, 72), (0, 0), (128, 72)),
        tagged=True,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Changing:
    """A recording of a stream that changes, served over HTTP."""

    kind: Kind
    result: Result
    vod: Vod


def make_changing(folder: Path, kind: Kind) -> Path:
    """The playlist of numbered pictures and a tone that are encoded anew every ``PART_S``."""
    base = make_hls(folder / "base", Form(seconds=PART_S * len(kind.parts), audio_rate=0))
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{PART_S + 1}"]
    for number, options in enumerate(kind.parts):
        if number and kind.tagged:
            lines.append("#EXT-X-DISCONTINUITY")
        lines += _make_part(folder, base, kind, number, options)
    playlist = folder / "stream.m3u8"
    playlist.write_text("\n".join([*lines, "#EXT-X-ENDLIST", ""]))
    return playlist


def _make_part(
    folder: Path, base: Path, kind: Kind, number: int, options: Sequence[str]
) -> list[str]:
    """One segment; its lines of the playlist."""
    at_s = number * PART_S
    suffix = "ts" if kind.container == "mpegts" else "m4s"
    own = folder / f"part_{number}.m3u8"
    # The encoder's first packet of sound is what was before: it would lie in the part before.
    without_priming = () if "-an" in options else ("-bsf:a", "noise=drop='lt(n,1)'")
    ffmpeg(
        *("-ss", str(at_s), "-t", str(PART_S), "-i", base),
        *("-f", "lavfi", "-t", str(PART_S), "-i", "sine=frequency=500:sample_rate=48000"),
        *("-sws_flags", "neighbor", "-g", str(FPS), "-crf", "20", *options, *without_priming),
        *("-output_ts_offset", str(CLOCK_S + at_s), "-f", "hls", "-hls_time", str(2 * PART_S)),
        *("-hls_playlist_type", "vod", "-hls_segment_type", kind.container),
        *("-hls_fmp4_init_filename", f"init_{number}.mp4"),
        *("-hls_segment_filename", folder / f"part_{number}_%d.{suffix}", own),
    )
    lines = own.read_text().splitlines()
    return [x for x in lines if x.startswith(("#EXTINF", "#EXT-X-MAP")) or not x.startswith("#")]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Changing]]:
    """Recordings by the name of their kind, each made once."""
    made: dict[str, Changing] = {}
    with ExitStack() as servers:

        def recording(name: str) -> Changing:
            if name not in made:
                folder = tmp_path_factory.mktemp("changing")
                made[name] = _record({**KINDS, **FILE_ONLY}[name], folder, servers)
            return made[name]

        yield recording


def _record(kind: Kind, folder: Path, servers: ExitStack) -> Changing:
    playlist = make_changing(folder / "stream", kind)
    listed = paths(playlist)
    for number in kind.lost:
        listed[number].unlink()
    settings = quick_settings(gap_policy="fill" if kind.lost else "cut")
    result = asyncio.run(record(playlist, folder / "out", settings=settings))
    assert result.recording.status == "completed", result.recording.error
    assert len(result.recording.gaps) == len(kind.lost)
    shutil.copy(Path(__file__).parent / "player.html", result.folder)
    vod = Vod(
        url=servers.enter_context(served(result.folder)),
        name=str(result.recording.object_name),
        duration_s=result.report["duration_s"],
        times={number: number / FPS for number in _numbers(kind)},
        slack_s=0.05,
    )
    return Changing(kind=kind, result=result, vod=vod)


@pytest.fixture
async def changing(name: str, recorded: Callable[[str], Changing]) -> Changing:
    return await asyncio.to_thread(recorded, name)


def _numbers(kind: Kind) -> list[int]:
    """Those on the pictures of the parts that have any."""
    seen = [n for n, size in enumerate(kind.sizes) if any(size) and n not in kind.lost]
    return [n for part in seen for n in range(part * PART_S * FPS, (part + 1) * PART_S * FPS)]


@pytest.mark.parametrize("name", [*KINDS, *FILE_ONLY])
async def test_ffmpeg_decodes_all_of_it(changing: Changing) -> None:
    numbers = frame_numbers(changing.result.mp4)
    assert list(dict.fromkeys(numbers)) == _numbers(changing.kind)
    # In the file's own time base, or a higher frame rate would not fit into the first one's.
    decoded = ("-map", "0", "-fps_mode", "passthrough", "-enc_time_base:v", "demux")
    assert ffmpeg("-i", changing.result.mp4, *decoded, "-f", "null", "-")[1] == ""


@pytest.mark.parametrize("name", KINDS)
async def test_ffmpeg_decodes_all_pictures_of_the_playlist(changing: Changing) -> None:
    numbers = frame_numbers(changing.result.playlist)
    assert list(dict.fromkeys(numbers)) == _numbers(changing.kind)


@pytest.mark.parametrize("name", [*KINDS, *FILE_ONLY])
async def test_the_file_plays_on(changing: Changing, page: Page) -> None:
    await without_a_stall(page, lambda: _plays_on(changing, page, open_file))


@pytest.mark.parametrize("name", KINDS)
async def test_hls_plays_on(changing: Changing, page: Page) -> None:
    await without_a_stall(page, lambda: _plays_on(changing, page, open_hls))


async def _plays_on(changing: Changing, page: Page, open_in: Opener) -> None:
    """Seeks into each part, the last one first, then plays over all changes."""
    vod = changing.vod
    await page.goto(f"{vod.url}/player.html")
    await page.evaluate("openMeter()")
    duration_s = await open_in(page, vod)
    assert duration_s == pytest.approx(vod.duration_s, abs=vod.slack_s)
    for part in reversed(range(len(changing.kind.parts))):
        await _check_part(changing, page, part)
    await page.evaluate("numberAt(0)")
    await page.evaluate("video.playbackRate = 2")
    assert await page.evaluate("playToEnd()") == pytest.approx(vod.duration_s, abs=vod.slack_s)


async def _check_part(changing: Changing, page: Page, part: int) -> None:
    at_s = (part + 0.3) * PART_S + 0.5 / FPS
    number = 0 if part in changing.kind.lost else int(at_s * FPS)
    size = changing.kind.sizes[part]
    asked = [at_s, number] if any(size) else [at_s]
    shown = await page.evaluate("asked => numberAt(...asked)", asked)
    if any(size):
        assert abs(shown - number) <= 1
        assert await page.evaluate("[video.videoWidth, video.videoHeight]") == list(size)
    loudness = await page.evaluate("loudness(0.2)")
    assert (loudness > HEARD) is changing.kind.sounds[part], loudness
