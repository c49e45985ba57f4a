"""``vodray verify``: a good file passes, every kind of damage is found and named."""

import json
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.media import boxes
from serve_app.cli import main
from tests import media
from tests.conftest import S3
from tests.local_pool import record
from tests.media import Form
from tests.media_fixtures import Clips, shrink

FORM = Form(noise=True, seconds=12)


@pytest.fixture(scope="module")
def recorded(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished recording with its playlist; not to be written to."""
    import asyncio

    folder = tmp_path_factory.mktemp("recorded")
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch, part_bytes=150_000, chunk_bytes=200_000)
        result = asyncio.run(record(clips(FORM), folder))
    assert result.mp4.is_file()
    return folder


@pytest.fixture
def mp4(recorded: Path, tmp_path: Path) -> Path:
    """A copy to damage, the playlist beside it."""
    shutil.copytree(recorded, tmp_path / "copy")
    return tmp_path / "copy" / "result.mp4"


def verify(path: Path | str, *options: str) -> Result:
    return CliRunner().invoke(main, ["verify", str(path), *options])


def assert_found(path: Path, pattern: str) -> None:
    result = verify(path)
    assert result.exit_code == 1, result.output
    assert re.search(pattern, result.stderr), result.stderr
    assert result.stderr.count("\n") == 1
    assert str(path) in result.stderr
    assert result.stdout == ""


def patch(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def head_of(path: Path) -> bytes:
    return path.read_bytes()[:100_000]


def fragments(path: Path) -> list[int]:
    """Where each ``moof`` begins."""
    data = path.read_bytes()
    outer = boxes.need(data, "mdat")
    return [b.start for b in boxes.walk(data, outer.body, outer.end) if b.kind == b"moof"]


def test_a_good_file_passes_with_and_without_its_playlist(mp4: Path) -> None:
    found = verify(mp4)
    assert found.exit_code == 0, found.output
    assert "verified" in found.stdout
    told = json.loads(verify(mp4, "--json").stdout)
    assert told["verified"] is True
    assert told["tracks"] == ["video", "audio"]
    assert told["fragments"] == len(fragments(mp4))
    assert told["hls_ranges"] == told["keyframes_decoded"] >= 2
    assert told["duration_s"] == pytest.approx(12.0, abs=0.1)
    assert told["size_bytes"] == mp4.stat().st_size
    shutil.rmtree(mp4.with_suffix(""))
    alone = json.loads(verify(mp4, "--json").stdout)
    assert alone["hls_ranges"] is None
    assert alone["keyframes_decoded"] == told["fragments"]


@pytest.mark.parametrize(
    "form",
    [
        Form(container="fmp4", video_codec="libx265"),
        Form(container="fmp4", video_codec="libsvtav1"),
        Form(fps=0),
        Form(audio_rate=0),
    ],
    ids=["hevc", "av1", "sound", "pictures"],
)
async def test_good_files_of_every_kind_pass(form: Form, clips: Clips, tmp_path: Path) -> None:
    result = await record(clips(form), tmp_path)
    found = verify(result.mp4)
    assert found.exit_code == 0, found.output


async def test_an_object_in_a_bucket(
    recorded: Path,
    s3: S3,
    new_bucket_name: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MINIO_ENDPOINT", s3.endpoint)
    monkeypatch.setenv("MINIO_ACCESS_KEY", s3.access_key)
    monkeypatch.setenv("MINIO_SECRET_KEY", s3.secret_key)
    from pipeline.settings import load_settings
    from pipeline.stores.connect import make_store

    store, bucket = make_store(load_settings()), new_bucket_name()
    store.ensure_bucket(bucket)
    for path in recorded.rglob("*"):
        if path.is_file():
            key = f"a/b/{path.relative_to(recorded)}"
            store.put(bucket, key, path.read_bytes(), "application/octet-stream")
    found = verify(f"s3://{bucket}/a/b/result.mp4", "--json")
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["hls_ranges"] >= 2
    missing = verify(f"s3://{bucket}/nothing.mp4")
    assert (missing.exit_code, missing.stderr) == (1, "vodray: There is no nothing.mp4\n")


@pytest.mark.parametrize(
    ("table", "pattern"),
    [
        ("stsz", r"track 1 \(video\): size of sample \d+|no track of moov"),
        ("co64", r"fragment at byte \d+: no track of moov|offset"),
        ("stss", r"track 1 \(video\): key of sample|stss"),
        ("ctts", r"track 1 \(video\): cts of sample|differ in length"),
        ("stts", r"differ in length|duration of sample"),
        ("stsc", r"stsc"),
    ],
)
def test_a_flipped_byte_in_a_table(table: str, pattern: str, mp4: Path) -> None:
    data = head_of(mp4)
    box = boxes.need(data[: boxes.need(data, "moov").end], f"moov/trak/mdia/minf/stbl/{table}")
    at = box.body + 8 + (4 if table == "stsz" else 0) + 3
    if table == "co64":
        at += 4
    patch(mp4, at, bytes([data[at] ^ 1]))
    assert_found(mp4, pattern)


@pytest.mark.parametrize("cut", [1, 100, 50_000])
def test_a_truncated_file(cut: int, mp4: Path) -> None:
    size = mp4.stat().st_size
    with mp4.open("r+b") as file:
        file.truncate(size - cut)
    assert_found(mp4, rf"has {size - cut} bytes, its mdat ends at byte {size}")


def test_a_file_cut_off_in_its_head(mp4: Path) -> None:
    with mp4.open("r+b") as file:
        file.truncate(1000)
    assert_found(mp4, "moov")


def test_a_file_with_something_behind_its_end(mp4: Path) -> None:
    with mp4.open("ab") as file:
        file.write(b"x")
    assert_found(mp4, "its mdat ends")


def test_a_moof_that_was_overwritten(mp4: Path) -> None:
    at = fragments(mp4)[3]
    patch(mp4, at + 4, b"junk")
    assert_found(mp4, rf"byte {at}: b'junk' where a fragment should begin")


def test_a_trun_that_was_overwritten(mp4: Path) -> None:
    at = fragments(mp4)[3]
    data = mp4.read_bytes()
    run = data.index(b"trun", at)
    patch(mp4, run + 8, struct.pack(">I", 2**31))
    assert_found(mp4, rf"fragment at byte {at}: trun .* claims {2**31} samples")


def test_a_damaged_keyframe(mp4: Path) -> None:
    data = mp4.read_bytes()
    at = fragments(mp4)[0]
    content = boxes.read_header(data, boxes.read_header(data, at, len(data)).end, len(data)).body
    patch(mp4, content + 900, bytes(1500))
    done = CliRunner().invoke(main, ["verify", str(mp4)])
    assert done.exit_code == 3
    assert "the keyframe at 0.0" in done.stderr
    assert done.stdout.count("verified") == 1


def test_a_shifted_range_in_the_playlist(mp4: Path) -> None:
    playlist = mp4.with_suffix("") / "source.m3u8"
    shifted = re.sub(
        r"(?<=@)\d+", lambda found: str(int(found[0]) + 1), playlist.read_text(), count=1
    )
    playlist.write_text(shifted)
    assert_found(mp4, r"HLS range \d+-\d+ does not begin and end at fragments")


def test_a_playlist_that_leaves_a_segment_out(mp4: Path) -> None:
    playlist = mp4.with_suffix("") / "source.m3u8"
    lines = playlist.read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("#EXTINF"))
    playlist.write_text("\n".join([*lines[:at], *lines[at + 3 :], ""]))
    assert_found(mp4, "do not hold the same bytes")


def test_a_playlist_of_another_file(mp4: Path) -> None:
    playlist = mp4.with_suffix("") / "source.m3u8"
    playlist.write_text(playlist.read_text().replace("../result.mp4", "../other.mp4"))
    assert_found(mp4, r"does not name result.mp4 but ../other.mp4")


def test_an_init_segment_of_another_stream(mp4: Path) -> None:
    init = mp4.with_suffix("") / "source.init.mp4"
    data = init.read_bytes()
    at = data.index(b"avcC") + 6
    init.write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
    assert_found(mp4, "init segment 1 does not describe what moov does")
    init.unlink()
    assert_found(mp4, "source.init.mp4 is not beside its playlist")


def test_files_that_are_not_ours(clips: Clips, tmp_path: Path) -> None:
    foreign = media.remux_with_ffmpeg(clips(Form()), tmp_path / "foreign.mp4")
    assert_found(foreign, "vodray did not make it")
    media.ffmpeg("-i", foreign, "-c", "copy", "-movflags", "+faststart", tmp_path / "fast.mp4")
    assert_found(tmp_path / "fast.mp4", "vodray did not make it")
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    assert_found(text, "it is no MP4")
    (tmp_path / "empty.mp4").write_bytes(b"")
    assert_found(tmp_path / "empty.mp4", "it is no MP4")
    missing = verify(tmp_path / "missing.mp4")
    assert (missing.exit_code, "There is no" in missing.stderr) == (1, True)


def test_a_head_that_claims_gigabytes_takes_no_memory(mp4: Path) -> None:
    """Claims are held against the file before anything is read or allocated for them."""
    data = bytearray(head_of(mp4))
    moov = boxes.need(bytes(data), "moov")
    stsz = boxes.need(bytes(data[: moov.end]), "moov/trak/mdia/minf/stbl/stsz")
    patch(mp4, stsz.body + 4, struct.pack(">II", 1, 2**32 - 1))
    assert_found(mp4, f"moov: stsz claims {2**32 - 1} samples")
    patch(mp4, moov.start, struct.pack(">I", 2**32 - 1))
    assert_found(mp4, "moov")
