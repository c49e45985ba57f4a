"""fMP4 whose composition offsets are negative, as CMAF packagers write it: pictures are shown when
it says, in step with the sound (row 12)."""

from itertools import pairwise
from pathlib import Path

import pytest

from pipeline.media import boxes
from pipeline.media.fragments import read_fragments
from pipeline.media.samples import Span
from tests import bending
from tests.hazards.seen import assert_recorded
from tests.hazards.streams import FMP4, SMALL, X264, encode, listing
from tests.local_pool import Result, record
from tests.media import FPS

SIGNED = (*FMP4[:3], f"{FMP4[3]}+negative_cts_offsets", *FMP4[4:])
FRAMES = SMALL.seconds * FPS

pytestmark = pytest.mark.usefixtures("small_chunks")


def cut(whole: Path, folder: Path) -> Path:
    """Each fragment as a segment, behind one init."""
    folder.mkdir()
    data, fragments, init = whole.read_bytes(), [], b""
    for box in boxes.walk(data):
        if box.kind == b"moof":
            fragments.append(data[box.start : box.end])
        elif fragments and box.kind == b"mdat":
            fragments[-1] += data[box.start : box.end]
        elif not fragments:
            init += data[box.start : box.end]
    (folder / "init.mp4").write_bytes(init)
    names = []
    for number, fragment in enumerate(fragments):
        names.append((f"{number}.m4s", 1.0))
        (folder / names[-1][0]).write_bytes(fragment)
    return listing(folder, names, '#EXT-X-MAP:URI="init.mp4"')


def written(playlist: Path) -> Span:
    """What the boxes say, without FFmpeg."""
    data = b"".join(path.read_bytes() for path in bending.paths(playlist))
    return read_fragments((playlist.parent / "init.mp4").read_bytes() + data)[0]


def behind_s(source: Span) -> float:
    """How far behind its picture a tick is heard."""
    pictures, sound = source.tracks
    # The encoder's delay is one frame.
    return sound.start_s + 1024 / 48_000 - pictures.start_s


def in_step(result: Result, apart_s: float) -> None:
    seen = assert_recorded(result, range(FRAMES), has_sound=False)
    expected = [seen.at(second * FPS) + apart_s for second in range(SMALL.seconds)]
    assert seen.ticks_s == pytest.approx(expected, abs=0.003)
    steps = [b - a for a, b in pairwise(seen.times_s)]
    assert steps == pytest.approx([1 / FPS] * len(steps), abs=0.001)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("frames", [0, 1, 2, 3])
async def test_pictures_are_in_step_with_the_sound(
    frames: int, workers: int, tmp_path: Path
) -> None:
    """``frames``: of B-frames between two others; three make a pyramid."""
    video = (*X264, "-preset", "veryfast", "-bf", str(frames), "-b_strategy", "0")
    whole = encode(tmp_path / "whole.mp4", video=video, output=SIGNED)
    playlist = cut(whole, tmp_path / "in")
    source = written(playlist)
    assert bool((source.tracks[0].cts < 0).any()) == (frames > 0)
    in_step(await record(playlist, tmp_path / "out", workers=workers), behind_s(source))


async def test_what_was_recorded_is_recorded_again_and_again(tmp_path: Path) -> None:
    """Recordings are HLS of that kind themselves: nothing moves from one to the next."""
    playlist = cut(encode(tmp_path / "whole.mp4", output=SIGNED), tmp_path / "in")
    apart_s = behind_s(written(playlist))
    for generation in range(3):
        result = await record(playlist, tmp_path / f"out{generation}")
        in_step(result, apart_s)
        playlist = result.playlist
        playlist = playlist.rename(result.folder / "again.m3u8")
        text = playlist.read_text().replace("../result.mp4", "result.mp4")
        init = f"{result.recording.object_name}/source.init.mp4"
        playlist.write_text(text.replace("source.init.mp4", init))
