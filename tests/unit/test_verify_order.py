"""``vodray verify`` where fragments lie in another order than they are shown, where sound is out of
step, and where fragments count time otherwise than ``moov``."""

import re
import shutil
import struct
from bisect import bisect_right
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from pipeline.media import boxes
from pipeline.media.fragments import Run
from pipeline.media.tables import TableTrack
from pipeline.media.verify_times import timescales
from pipeline.media.walk import Fragment, PlacedRun
from tests.local_pool import record
from tests.media import Form
from tests.media_fixtures import Clips, shrink
from tests.unit.test_verify import assert_found, fragments, patch, verify


@pytest.fixture(scope="module")
def recorded(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished recording with its playlist; not to be written to."""
    import asyncio

    folder = tmp_path_factory.mktemp("recorded")
    with pytest.MonkeyPatch.context() as patches:
        shrink(patches, part_bytes=150_000, chunk_bytes=200_000)
        asyncio.run(record(clips(Form(noise=True, seconds=12)), folder))
    return folder


@pytest.fixture
def with_playlist(recorded: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    shutil.copytree(recorded, tmp_path / "copy")
    return tmp_path / "copy" / "result.mp4"


@pytest.fixture(params=["with its playlist", "alone"])
def mp4(request: pytest.FixtureRequest, with_playlist: Path) -> Path:
    if request.param == "alone":
        shutil.rmtree(with_playlist.with_suffix(""))
    return with_playlist


def table(data: bytes, track: int, kind: str) -> boxes.Box:
    moov = boxes.need(data, "moov")
    trak = [box for box in boxes.walk(data, moov.body, moov.end) if box.kind == b"trak"][track]
    return boxes.need(data, f"mdia/minf/stbl/{kind}", trak.body, trak.end)


def change_offsets(data: bytearray, change: Callable[[int], int]) -> None:
    for track in (0, 1):
        co64 = table(bytes(data), track, "co64")
        for at in range(co64.body + 8, co64.end, 8):
            struct.pack_into(">Q", data, at, change(struct.unpack_from(">Q", data, at)[0]))


def reverse(path: Path) -> None:
    """Let the segments lie from the last one to the first."""
    data = bytearray(path.read_bytes())
    starts = fragments(path)
    ends = [*starts[1:], len(data)]
    to, at = {}, starts[0]
    for start, end in reversed(list(zip(starts, ends, strict=True))):
        to[start], at = at, at + end - start
    body = b"".join(bytes(data[s:e]) for s, e in reversed(list(zip(starts, ends, strict=True))))

    def moved(offset: int) -> int:
        start = starts[bisect_right(starts, offset) - 1]
        return offset - start + to[start]

    change_offsets(data, moved)
    data[starts[0] :] = body
    path.write_bytes(data)
    playlist = path.with_suffix("") / "source.m3u8"
    if playlist.exists():
        write_playlist(playlist, [(to[s], e - s) for s, e in zip(starts, ends, strict=True)])


def write_playlist(playlist: Path, ranges: list[tuple[int, int]]) -> None:
    head = playlist.read_text().partition("#EXTINF")[0]
    segments = [f"#EXTINF:1,\n#EXT-X-BYTERANGE:{n}@{at}\n../result.mp4\n" for at, n in ranges]
    playlist.write_text(head + "".join(segments) + "#EXT-X-ENDLIST\n")


def test_fragments_in_any_order(mp4: Path) -> None:
    before = re.search(r"verified.* samples", verify(mp4).stdout)
    reverse(mp4)
    found = verify(mp4)
    assert found.exit_code == 0, found.output
    assert before is not None
    assert before[0] in found.stdout
    assert f"{len(fragments(mp4))} keyframes decoded" in found.stdout


def test_runs_of_moov_in_another_order_than_its_samples(mp4: Path) -> None:
    reverse(mp4)
    data = mp4.read_bytes()
    at = table(data, 0, "co64").body + 8
    patch(mp4, at, data[at + 8 : at + 16] + data[at : at + 8])
    assert_found(mp4, r"track 1 \(video\): (size|offset) of sample|as another run does|no track of")


def test_samples_that_two_runs_hold(mp4: Path) -> None:
    """The sound of a fragment points at its pictures."""
    data, at = mp4.read_bytes(), fragments(mp4)[2]
    video = data.index(b"trun", at)
    audio = data.index(b"trun", video + 4)
    patch(mp4, audio + 12, data[video + 12 : video + 16])
    assert_found(mp4, rf"fragment at byte {at} holds sample \d+ of the video track")


@pytest.mark.parametrize("number", [0, 3, -1])
def test_sound_that_is_5_ms_late(number: int, mp4: Path) -> None:
    data, at = mp4.read_bytes(), fragments(mp4)[number]
    tfdt = data.index(b"tfdt", data.index(b"tfdt", at) + 4)
    (time,) = struct.unpack_from(">Q", data, tfdt + 8)
    patch(mp4, tfdt + 8, struct.pack(">Q", time + 240))
    assert_found(mp4, r"track 2 \(audio\): sample \d+ is 0\.005\d s out of step")


def test_an_init_segment_of_another_time_scale(with_playlist: Path) -> None:
    init = with_playlist.with_suffix("") / "source.init.mp4"
    data = bytearray(init.read_bytes())
    mdhd = boxes.need(bytes(data), "moov/trak/mdia/mdhd")
    struct.pack_into(">I", data, mdhd.body + (20 if data[mdhd.body] else 12), 12_345)
    init.write_bytes(data)
    assert_found(with_playlist, r"track 1 \(video\): (duration|cts) of sample")


def sound_entry(rate: int) -> bytes:
    return boxes.make(b"mp4a", bytes(24), struct.pack(">HH", rate, 0))


def make_times(
    kind: str, timescale: int, spans: list[tuple[int, int, list[int]]], entries: list[bytes]
) -> tuple[TableTrack, list[tuple[Fragment, PlacedRun]]]:
    """``spans``: ``(time scale, ticks per sample, samples per fragment)`` of each muxer, one entry
    each."""
    dts: list[int] = []
    entry: list[int] = []
    runs: list[tuple[Fragment, PlacedRun]] = []
    begin = 0
    for number, (scale, step, counts) in enumerate(spans):
        own = 10 * scale + step * np.arange(sum(counts) + 1)
        placed = begin + np.array(
            [round(Fraction(int(t - own[0]) * timescale, scale)) for t in own]
        )
        done = 0
        for sequence, count in enumerate(counts, 1):
            columns = {name: np.zeros(count, np.int64) for name in ("duration", "size", "flags")}
            run = Run(1, 0, own[done : done + count], **columns, cts=np.zeros(count, np.int64))
            fragment = Fragment(number=len(runs), start=0, end=1, sequence=sequence, runs=())
            runs.append((fragment, PlacedRun(track=0, first=len(dts) + done, run=run)))
            done += count
        dts += placed[:-1].tolist()
        entry += [number] * done
        begin = int(placed[-1])
    none = np.zeros(len(dts), np.int64)
    table = TableTrack(
        kind=kind,
        timescale=timescale,
        offset=none,
        size=none,
        dts=np.array(dts),
        cts=none,
        key=none == 0,
        wait_s=0.0,
        skip=0,
        entries=tuple(entries),
        entry=np.array(entry),
    )
    return table, runs


def test_time_scales_of_sound_that_changes() -> None:
    spans = [(48_000, 1024, [90, 97]), (22_050, 1024, [44, 43, 4]), (44_100, 1024, [1, 2, 1])]
    entries = [sound_entry(rate) for rate, _, _ in spans]
    table, runs = make_times("audio", 48_000, spans, entries)
    found = timescales(table, runs, [None] * len(runs))
    assert found == [48_000] * 2 + [22_050] * 3 + [44_100] * 3


def test_time_scales_of_pictures_that_change() -> None:
    """Also where each is a fragment of its own, and where two muxers have equal entries."""
    spans = [(90_000, 3600, [25, 25]), (30_000, 1001, [1] * 15), (12_288, 512, [48, 1])]
    table, runs = make_times("video", 90_000, spans, [b"a" * 40, b"b" * 40, b"b" * 40])
    found = timescales(table, runs, [None] * len(runs))
    assert found == [90_000] * 2 + [30_000] * 15 + [12_288] * 2
