"""Encrypted streams: equal to their clear twins, or named for what they are (row 10)."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.model import Status
from tests import bending, media
from tests.hazards.encrypted import IV, KEY, OTHER_KEY, Lock, encrypt, lock
from tests.hazards.seen import assert_recorded
from tests.hazards.streams import SMALL
from tests.local_pool import record
from tests.media import FPS, Form
from tests.media_fixtures import Clips, copy_clip

TS = replace(SMALL, seconds=8)
FMP4 = replace(TS, container="fmp4")
FRAMES = TS.seconds * FPS
KINDS = {"ts": TS, "fmp4": FMP4}

LOCKS: dict[str, Mapping[int, Lock | None]] = {
    "explicit-iv": {0: Lock()},
    "sequence-iv": {0: Lock(iv=None)},
    "rotation": {
        0: Lock(),
        1: Lock(key=OTHER_KEY, iv=None, file="k1.bin"),
        3: Lock(iv=bytes(16)[:-1] + b"\x07", file="k2.bin"),
    },
    "same-key-new-iv": {0: Lock(), 2: Lock(iv=IV[::-1])},
    "none-between": {0: Lock(iv=None), 1: None, 2: Lock(iv=None)},
    "clear-start": {2: Lock()},
    "clear-end": {0: Lock(), 3: None},
}

pytestmark = pytest.mark.usefixtures("small_chunks")


@pytest.mark.parametrize("form", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("locks", LOCKS.values(), ids=LOCKS.keys())
async def test_equal_to_the_clear_twin(
    locks: Mapping[int, Lock | None], form: Form, clips: Clips, tmp_path: Path
) -> None:
    """The init of fMP4 stands before EXT-X-KEY: it is in clear (RFC 8216 4.3.2.5)."""
    playlist = copy_clip(clips(form), tmp_path / "in")
    lock_below_map(playlist, locks, sequence=2680)
    await check_twin(playlist, clips(form), tmp_path)


@pytest.mark.parametrize("is_locked", [True, False], ids=["locked", "clear"])
async def test_an_init_behind_the_key(is_locked: bool, clips: Clips, tmp_path: Path) -> None:
    """It is encrypted, says the RFC; packagers leave it in clear all the same."""
    playlist = copy_clip(clips(FMP4), tmp_path / "in")
    lock(playlist, {0: Lock()})
    if is_locked:
        init = playlist.parent / "init.mp4"
        init.write_bytes(encrypt(init.read_bytes(), KEY, IV))
    await check_twin(playlist, clips(FMP4), tmp_path)


@pytest.mark.parametrize("form", KINDS.values(), ids=KINDS.keys())
async def test_byte_ranges_of_one_encrypted_file(form: Form, clips: Clips, tmp_path: Path) -> None:
    """Each range is encrypted by itself (RFC 8216 5.2)."""
    playlist = copy_clip(clips(form), tmp_path / "in")
    lock_below_map(playlist, {0: Lock(iv=None)})
    whole, listed = b"", []
    for entry in bending.entries(playlist):
        data = (playlist.parent / entry.uri).read_bytes()
        tags = (*entry.tags, f"#EXT-X-BYTERANGE:{len(data)}@{len(whole)}")
        listed.append(bending.Entry(tags=tags, uri="all.bin"))
        whole += data
    (playlist.parent / "all.bin").write_bytes(whole)
    keys = [(0, Lock(iv=None).tag)]
    for number, tag in keys:
        listed[number] = place_key(listed[number], tag)
    bending.write(playlist, listed)
    await check_twin(playlist, clips(form), tmp_path)


async def test_an_iv_in_capitals_and_attributes_in_another_order(
    clips: Clips, tmp_path: Path
) -> None:
    playlist = copy_clip(clips(TS), tmp_path / "in")
    lock(playlist, {0: Lock()})
    odd = f'#EXT-X-KEY:IV=0X{IV.hex().upper()},KEYFORMAT="identity",URI="key.bin",METHOD=AES-128'
    playlist.write_text(playlist.read_text().replace(Lock().tag, odd))
    await check_twin(playlist, clips(TS), tmp_path)


@pytest.mark.parametrize("form", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("wrong", ["wrong", "missing", "short", "long", "html"])
async def test_a_key_that_does_not_fit_costs_its_segments(
    wrong: str, form: Form, clips: Clips, tmp_path: Path
) -> None:
    playlist = copy_clip(clips(form), tmp_path / "in")
    lock_below_map(playlist, {0: Lock(), 1: Lock(key=OTHER_KEY, file="k1.bin"), 3: Lock()})
    spoil(playlist.parent / "k1.bin", wrong)
    result = await record(playlist, tmp_path / "out")
    numbers = [*range(2 * FPS), *range(6 * FPS, FRAMES)]
    assert_recorded(result, numbers, gaps=[(2.0, 4.0)], lost=[1, 2])
    assert "key" in result.recording.gaps[0].reason


@pytest.mark.parametrize("wrong", ["wrong", "missing", "short"])
async def test_without_its_only_key_a_stream_fails_by_name(
    wrong: str, clips: Clips, tmp_path: Path
) -> None:
    playlist = copy_clip(clips(TS), tmp_path / "in")
    lock(playlist, {0: Lock()})
    spoil(playlist.parent / "key.bin", wrong)
    result = await record(playlist, tmp_path / "out")
    assert result.recording.status is Status.FAILED
    assert "key" in str(result.recording.error)
    assert [path for path in result.folder.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("bent", ["no-padding", "cut-block", "more"])
async def test_bad_padding_costs_no_media(bent: str, clips: Clips, tmp_path: Path) -> None:
    """Encoders that pad wrongly: the media before it is whole."""
    playlist = copy_clip(clips(TS), tmp_path / "in")
    lock(playlist, {0: Lock()})
    path = bending.paths(playlist)[1]
    clear = bending.paths(clips(TS))[1].read_bytes()
    filled = clear + bytes(-len(clear) % 16)
    data = {
        "no-padding": encrypt(filled, KEY, IV)[:-16],
        "cut-block": encrypt(filled, KEY, IV)[:-9],
        "more": encrypt(filled + bytes(16), KEY, IV)[:-16],
    }
    path.write_bytes(data[bent])
    assert_recorded(await record(playlist, tmp_path / "out"), range(FRAMES))


@pytest.mark.parametrize(
    "tag",
    [
        '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="key.bin"',
        '#EXT-X-KEY:METHOD=SAMPLE-AES-CTR,URI="key.bin"',
        '#EXT-X-KEY:METHOD=AES-256,URI="key.bin"',
        '#EXT-X-KEY:METHOD=AES-128,URI="skd://x",KEYFORMAT="com.apple.streamingkeydelivery"',
    ],
    ids=["sample-aes", "sample-aes-ctr", "aes-256", "fairplay"],
)
async def test_what_is_unsupported_is_named(tag: str, clips: Clips, tmp_path: Path) -> None:
    playlist = copy_clip(clips(TS), tmp_path / "in")
    bending.edit(playlist, 0, tag)
    result = await record(playlist, tmp_path / "out")
    assert result.recording.status is Status.FAILED
    named = "streamingkeydelivery" if "apple" in tag else tag.partition("=")[2].partition(",")[0]
    assert named in str(result.recording.error)


async def test_a_key_for_players_of_apple_beside_one_for_all(clips: Clips, tmp_path: Path) -> None:
    """Several EXT-X-KEY for one segment: any that we know will do (RFC 8216 4.3.2.4)."""
    playlist = copy_clip(clips(TS), tmp_path / "in")
    lock(playlist, {0: Lock()})
    fair = '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://x",KEYFORMAT="com.apple.streamingkeydelivery"'
    playlist.write_text(playlist.read_text().replace(Lock().tag, f"{Lock().tag}\n{fair}"))
    await check_twin(playlist, clips(TS), tmp_path)


def lock_below_map(playlist: Path, locks: Mapping[int, Lock | None], *, sequence: int = 0) -> None:
    """EXT-X-KEY behind EXT-X-MAP, so that the init is in clear."""
    lock(playlist, locks, sequence=sequence)
    listed = bending.entries(playlist)
    for number, held in locks.items():
        tag = held.tag if held else "#EXT-X-KEY:METHOD=NONE"
        listed[number] = place_key(listed[number], tag)
    bending.write(playlist, listed, sequence=sequence)


def place_key(entry: bending.Entry, tag: str) -> bending.Entry:
    maps = [t for t in entry.tags if t.startswith("#EXT-X-MAP")]
    rest = [t for t in entry.tags if t not in maps and t != tag]
    return bending.Entry(tags=(*maps, tag, *rest), uri=entry.uri)


def spoil(path: Path, wrong: str) -> None:
    key = path.read_bytes()
    if wrong == "missing":
        path.unlink()
        return
    bad = {"wrong": key[::-1], "short": key[:15], "long": key + b"\n", "html": b"<html>login"}
    path.write_bytes(bad[wrong])


async def check_twin(playlist: Path, clear: Path, folder: Path) -> None:
    result = await record(playlist, folder / "out")
    assert_recorded(result, range(FRAMES))
    twin = await record(clear, folder / "twin")
    assert media.packets(result.mp4) == media.packets(twin.mp4)
