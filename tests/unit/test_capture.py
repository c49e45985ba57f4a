"""The capture of a live source while everything around it fails: what is logged, and what is not
lost."""

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from actors import depot as depots
from pipeline.errors import (
    ObjectMissing,
    SourceError,
    SourceForbidden,
    SourceMissing,
    SourceUnavailable,
    StoreDenied,
)
from pipeline.model import EndReason, EventKind
from pipeline.spool import Spool
from pipeline.staging import staged_key
from tests.capturing import BUCKET, PATIENCE_S, World, away, media


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path / "spool")
    await made.announce()
    yield made
    made.results.hangs.set()
    made.origin.hangs.set()
    await made.kill()


async def end(world: World, first: int = 0, count: int = 6) -> None:
    world.show(first, count, ended=True)


def numbers(first: int, behind: int) -> list[str]:
    return [str(number) for number in range(first, behind)]


# --- segments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failure", [SourceUnavailable("503"), SourceMissing("404"), SourceForbidden("403")]
)
async def test_a_segment_that_comes_late(failure: SourceError, world: World) -> None:
    world.origin.acts["2.ts"] = [failure, failure] if failure.retry else [failure]
    world.show(0, 4)
    task = await world.new_process()
    await world.logs(4)
    world.show(2, 4, ended=True)
    await world.done(task)
    assert world.seen() == ["0", "1", "2", "3", "4.ts", "5.ts"]


async def test_an_address_that_is_signed_anew(world: World) -> None:
    world.origin.acts["a/1.ts"] = [SourceForbidden("403")] * 9
    world.show(0, 3, token="a/")
    task = await world.new_process()
    await world.asks("a/1.ts")
    world.show(0, 3, token="b/")
    await world.logs(3)
    assert world.origin.asked["b/1.ts"] == 1
    assert world.origin.asked["b/0.ts"] == 0
    await end(world)
    await world.done(task)
    assert world.seen()[:3] == numbers(0, 3)


async def test_signed_addresses_behind_the_end(tmp_path: Path) -> None:
    """What a web server signs is copied to the last segment, and asked for at the addresses that
    its playlist names by then."""
    world = World(tmp_path, retry_delay=timedelta(seconds=0.3))
    await world.announce()
    world.source.ref = "http://web.example/stream.m3u8"
    world.show(0, 3, token="a/")
    task = await world.new_process()
    await world.logs(3)
    world.origin.acts["b/4.ts"] = [SourceUnavailable("503"), SourceForbidden("403")]
    world.show(0, 5, token="b/", ended=True)
    await world.asks("b/4.ts")
    world.origin.acts["stream.m3u8"] = [SourceUnavailable("503")] * 2
    world.show(0, 5, token="c/", ended=True)
    await world.done(task)
    await world.kill()
    assert world.seen() == numbers(0, 5)
    assert world.origin.asked["c/4.ts"] == 1


async def test_a_segment_that_never_comes(world: World) -> None:
    world.origin.acts["1.ts"] = [SourceMissing("1.ts is not there")] * 99
    world.show(0, 3)
    task = await world.new_process()
    await world.logs(3)
    await end(world, 0, 3)
    await world.done(task)
    assert world.seen() == ["0", "gap 1", "2"]
    assert world.log()[1].gap_reason == "1.ts is not there"
    # Twice with a retry each.
    assert world.origin.asked["1.ts"] == 4


async def test_a_server_that_breaks_off_all_but_playlists(world: World) -> None:
    """What it has is not given up while it says nothing else."""
    world.origin.acts["1.ts"] = [SourceUnavailable("Connection reset")] * 9
    world.show(0, 3)
    task = await world.new_process()
    await world.logs(3)
    await end(world, 0, 3)
    await world.done(task)
    assert world.seen() == ["0", "1", "2"]
    assert world.origin.asked["1.ts"] == 10


async def test_one_that_hangs_holds_up_only_what_is_written(world: World) -> None:
    world.origin.acts["1.ts"] = [1.0]
    world.show(0, 2)
    task = await world.new_process()
    await world.asks("1.ts")
    for first in range(1, 6):
        world.show(first, 2)
        await world.asks(f"{first + 1}.ts")
    assert world.seen() == ["0"]
    world.show(5, 2, ended=True)
    await world.done(task)
    assert world.seen() == numbers(0, 7)


async def test_one_source_that_hangs_takes_no_memory_of_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind what hangs a hundred segments wait, without holding anything."""
    monkeypatch.setattr(depots, "MEMORY_BYTES", 8000)
    world.show(0, 100)
    world.origin.acts |= {f"{number}.ts": [3.0] for number in range(100)}
    task = await world.new_process()
    await world.until(lambda: sum(world.origin.asked[f"{n}.ts"] for n in range(100)) >= 4)
    depot = world._tasks[0][1]
    async with asyncio.timeout(1), depot.room(1504):
        pass
    assert not task.done()
    world.origin.acts.clear()


# --- inits --------------------------------------------------------------------------------------


def inits(world: World) -> list[bytes]:
    held = []
    for segment in world.log():
        assert segment.init is not None
        key = staged_key(segment.init.uri)
        held.append(world.results.held(key) if key else b"not kept")
    return held


async def test_an_init_is_copied_once(world: World) -> None:
    world.origin.set("stream/init.mp4", b"an init")
    world.show(0, 3, tags=['#EXT-X-MAP:URI="init.mp4"'])
    task = await world.new_process()
    await world.logs(3)
    assert inits(world) == [b"an init"] * 3
    assert len({segment.init for segment in world.log()}) == 1
    assert world.origin.asked["init.mp4"] == 1
    world.show(0, 3, tags=['#EXT-X-MAP:URI="init.mp4"'], ended=True)
    await world.done(task)


async def test_an_encoder_that_starts_anew_with_an_init_of_the_same_name(world: World) -> None:
    """Without any tag: its numbers begin anew."""
    world.origin.set("stream/init.mp4", b"one")
    world.show(50, 2, tags=['#EXT-X-MAP:URI="init.mp4"'])
    task = await world.new_process()
    await world.logs(2)
    world.origin.set("stream/init.mp4", b"another")
    world.show(0, 2, tags=['#EXT-X-MAP:URI="init.mp4"'], clip="new")
    await world.logs(4)
    assert inits(world) == [b"one", b"one", b"another", b"another"]
    assert world.seen() == ["50", "51", "new0", "new1"]
    assert world.log()[2].discontinuity
    task.cancel()


async def test_an_encoder_that_starts_anew_under_the_same_names(world: World) -> None:
    """Though its playlist says that it keeps everything."""
    tags = ["#EXT-X-PLAYLIST-TYPE:EVENT"]
    world.show(0, 6, tags=tags)
    task = await world.new_process()
    await world.logs(6)
    for number in range(2):
        world.origin.set(f"stream/{number}.ts", media(f"other{number}"))
    world.write(["0.ts", "1.ts"], 0, tags=tags)
    await world.logs(8)
    assert world.seen() == [*map(str, range(6)), "other0", "other1"]
    task.cancel()


async def test_the_first_segment_of_a_new_run_that_comes_late(world: World) -> None:
    """It is still marked as the first one."""
    world.show(50, 2)
    task = await world.new_process()
    await world.logs(2)
    world.origin.acts["new0.ts"] = [SourceMissing("404")] * 2
    world.show(0, 2, clip="new")
    await world.logs(4)
    assert [s.discontinuity for s in world.log()] == [False, False, True, False]
    task.cancel()


async def test_an_init_that_cannot_be_had_at_first(world: World) -> None:
    """Signed addresses expire: the original is none that could be read later."""
    world.origin.set("stream/init.mp4", b"an init")
    world.origin.acts["init.mp4"] = [SourceUnavailable("503")] * 2
    world.show(0, 3, tags=['#EXT-X-MAP:URI="init.mp4"'])
    task = await world.new_process()
    await world.logs(3)
    assert inits(world) == [b"an init"] * 3
    task.cancel()


# --- the results' store -------------------------------------------------------------------------


async def test_a_catalogue_that_is_away_when_the_process_ends(world: World) -> None:
    """What was copied meanwhile is found by the one that comes after it."""
    world.show(0, 3)
    await world.new_process()
    await world.logs(3)
    world.catalog.away = True
    world.show(2, 3)
    await world.spools(2)
    await world.kill()
    world.catalog.away = False
    world.show(6, 3)
    task = await world.new_process()
    await world.logs(9)
    world.show(6, 3, ended=True)
    await world.done(task)
    assert world.seen() == [*numbers(0, 5), "gap 5", *numbers(6, 9)]
    assert world.spooled() == []


async def test_a_store_that_is_away_while_the_window_moves_on(world: World) -> None:
    away(world.results)
    world.show(0, 3)
    task = await world.new_process()
    for first in range(1, 8):
        await world.spools(first + 2)
        world.show(first, 3)
    await world.spools(10)
    assert world.log() == []
    world.results.away = None
    await world.logs(10)
    world.show(7, 3, ended=True)
    await world.done(task)
    assert world.seen() == numbers(0, 10)
    assert world.spooled() == []


async def test_a_store_that_hangs_before_it_was_ever_asked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a process that starts meanwhile: it must not stand still."""
    answers, sign = threading.Event(), world.results.presign_put

    def hang(*arguments: Any, **more: Any) -> str:
        answers.wait(PATIENCE_S)
        return sign(*arguments, **more)

    monkeypatch.setattr(world.results, "presign_put", hang)
    world.show(0, 3)
    task = await world.new_process()
    await world.asks("2.ts")
    world.show(3, 3)
    await world.asks("5.ts")
    answers.set()
    await end(world, 3, 3)
    await world.done(task)
    assert world.seen() == numbers(0, 6)


async def test_signed_inits_while_the_store_is_away(world: World) -> None:
    """The same bytes under another address at each look: they wait once, and nothing waits for
    them to be stored."""
    away(world.results)
    task = await world.new_process()
    for look in range(4):
        world.origin.set(f"stream/init.mp4_{look}", b"an init")
        world.show(look, 3, tags=[f'#EXT-X-MAP:URI="init.mp4_{look}"'])
        await world.spools(look + 4)
    world.results.away = None
    await world.logs(6)
    assert not task.done()
    assert inits(world) == [b"an init"] * 6
    world.show(3, 3, tags=['#EXT-X-MAP:URI="init.mp4_3"'], ended=True)
    await world.done(task)
    assert world.spooled() == []


async def test_a_store_that_refuses_for_a_while(world: World) -> None:
    """Its keys are being changed, say: the stream goes on meanwhile."""
    world.results.away = StoreDenied("403")
    world.show(0, 3)
    task = await world.new_process()
    await world.spools(3)
    world.show(3, 3)
    await world.spools(6)
    world.results.away = None
    await end(world, 3, 3)
    await world.done(task)
    assert world.seen() == numbers(0, 6)


async def test_a_full_disk(tmp_path: Path) -> None:
    """Then they wait in memory."""
    world = World(tmp_path, max_spool_bytes=4000)
    await world.announce()
    away(world.results)
    world.show(0, 5)
    task = await world.new_process()
    await world.asks("4.ts")
    await asyncio.sleep(0.1)
    assert len(world.spooled()) == 2
    world.results.away = None
    await end(world, 0, 5)
    await world.done(task)
    assert world.seen() == numbers(0, 5)
    await world.kill()


async def test_little_is_read_back_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits on disk is more than memory holds."""
    reads = 0
    read = Spool.read

    def counted(spool: Spool, path: Path) -> bytes:
        nonlocal reads
        reads += 1
        return read(spool, path)

    monkeypatch.setattr(Spool, "read", counted)
    away(world.results)
    world.show(0, 40)
    task = await world.new_process()
    await world.spools(40)
    world.results.hangs.clear()
    reads = 0
    await asyncio.sleep(1.0)
    assert 0 < reads <= 8
    world.results.away = None
    world.results.hangs.set()
    await world.logs(40)
    assert not task.done()


async def test_a_store_that_hangs_does_not_hold_up_playlists(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.results.hangs.clear()
    world.show(0, 80)
    task = await world.new_process()
    await world.asks("79.ts")
    world.show(70, 20)
    await world.asks("89.ts")
    world.results.hangs.set()
    await world.logs(90)
    assert not task.done()


async def test_the_end_is_told_while_the_store_is_away(world: World) -> None:
    away(world.results)
    world.show(0, 3)
    task = await world.new_process()
    await world.spools(3)
    await world.announce(EventKind.ENDED)
    await asyncio.sleep(1.5)
    assert not task.done()
    world.results.away = None
    await world.done(task)
    assert world.seen() == numbers(0, 3)


async def test_a_recording_that_is_cancelled_while_its_segments_wait(world: World) -> None:
    away(world.results)
    world.show(0, 3, ended=True, tags=["#EXT-X-PLAYLIST-TYPE:VOD"])
    world.show(0, 3)
    task = await world.new_process()
    await world.spools(3)
    await end(world, 0, 3)
    await asyncio.sleep(0.1)
    await world.catalog.fail(world.id, "cancelled")
    async with asyncio.timeout(5):
        await task
    assert world.spooled() == []


# --- processes ----------------------------------------------------------------------------------


async def test_a_new_process_takes_up_what_waits(world: World) -> None:
    away(world.results)
    world.show(0, 3)
    await world.new_process()
    await world.spools(3)
    await world.kill()
    world.results.away = None
    world.show(5, 3)
    task = await world.new_process()
    await world.logs(8)
    assert world.seen() == [*numbers(0, 3), "gap 3", "gap 4", *numbers(5, 8)]
    await end(world, 5, 3)
    await world.done(task)
    assert world.spooled() == []


@pytest.mark.parametrize("first", [1, 2, 4])
async def test_a_new_process_takes_up_what_waits_behind_a_hole(first: int, world: World) -> None:
    """The second segment had not come when the first process died."""
    away(world.results)
    world.origin.acts["1.ts"] = [3.0]
    world.show(0, 4)
    await world.new_process()
    await world.spools(3)
    await world.kill()
    world.results.away = None
    world.show(first, 3)
    task = await world.new_process()
    await world.logs(first + 3)
    assert world.seen() == ["0", "1" if first == 1 else "gap 1", *numbers(2, first + 3)]
    await end(world, first, 3)
    await world.done(task)


async def test_a_new_process_finds_the_same_init_waiting(world: World) -> None:
    world.origin.set("stream/init.mp4", b"an init")
    tags = ['#EXT-X-MAP:URI="init.mp4"']
    away(world.results)
    world.show(0, 3, tags=tags)
    await world.new_process()
    await world.spools(4)
    await world.kill()
    task = await world.new_process()
    world.show(1, 4, tags=tags)
    await world.spools(6)
    world.results.away = None
    await world.logs(5)
    assert inits(world) == [b"an init"] * 5
    assert not task.done()


async def test_files_that_are_broken_or_gone(world: World) -> None:
    away(world.results)
    world.show(0, 3)
    await world.new_process()
    await world.spools(3)
    await world.kill()
    folder = world.settings.spool_dir / str(world.id)
    broken, gone = sorted(folder.iterdir())[1:]
    broken.write_bytes(b"{")
    (folder / "0-00000009-9.half").write_bytes(b"half")
    task = await world.new_process()
    await asyncio.sleep(0.1)
    gone.unlink()
    world.results.away = None
    world.show(0, 3)
    await world.logs(3)
    assert world.seen() == ["0", "1", "gap 2"]
    assert not task.done()


async def test_killed_at_any_moment_the_log_is_the_same(world: World) -> None:
    world.show(0, 8)
    await world.new_process()
    await world.logs(1)
    for first in range(12):
        world.show(first, 8)
        await world.new_process()
        await asyncio.sleep((0.0, 0.01, 0.03, 0.12)[first % 4])
        await world.kill()
    world.show(11, 8, ended=True)
    await world.done(await world.new_process())
    assert [content.removesuffix(".ts") for content in world.seen()] == numbers(0, 19)


async def test_two_captures_at_once(world: World) -> None:
    """One of them finds that it is not alone; what is logged is what its copies hold."""
    world.show(0, 3)
    one = await world.new_process()
    await world.logs(3)
    other = await world.new_process()
    for first in range(1, 12):
        world.show(first, 3)
        await asyncio.sleep(0.03)
    await end(world, 11, 3)
    async with asyncio.timeout(5):
        await asyncio.gather(one, other)
    assert [s.sequence for s in world.log()] == list(range(14))
    seen = [content.removesuffix(".ts") for content in world.seen()]
    assert seen == numbers(0, 14)


# --- the catalogue ------------------------------------------------------------------------------


async def test_a_catalogue_that_is_away_while_the_window_moves_on(world: World) -> None:
    world.show(0, 3)
    task = await world.new_process()
    await world.logs(3)
    world.catalog.away = True
    for first in range(1, 10):
        world.show(first, 3)
        await world.asks(f"{first + 2}.ts")
    world.catalog.away = False
    await end(world, 9, 3)
    await world.done(task)
    assert world.seen() == numbers(0, 12)


async def test_a_finding_whose_answer_was_lost(world: World) -> None:
    world.catalog.lost = 2
    world.show(0, 3)
    task = await world.new_process()
    await world.logs(3)
    await end(world, 0, 5)
    await world.done(task)
    assert [content.removesuffix(".ts") for content in world.seen()] == numbers(0, 5)


# --- the end ------------------------------------------------------------------------------------


async def test_a_source_that_is_silent_when_the_end_is_told(world: World) -> None:
    world.show(0, 3)
    task = await world.new_process()
    await world.logs(3)
    world.origin.acts["stream.m3u8"] = [SourceUnavailable("503")] * 999
    await world.announce(EventKind.ENDED)
    # Longer than segments on their way are waited for.
    await asyncio.sleep(1.5)
    world.show(0, 5)
    world.origin.acts.clear()
    await world.done(task)
    assert world.seen() == numbers(0, 5)


async def test_what_cannot_go_on_has_an_end(world: World) -> None:
    """Without one nobody could finish what was captured."""
    world.show(0, 3)
    task = await world.new_process()
    await world.logs(3)
    world.origin.acts["stream.m3u8"] = [StoreDenied("403")] * 2
    world.show(0, 5)
    await world.logs(5)
    assert not task.done()
    await end(world, 0, 5)
    await world.done(task)
    assert (await world.catalog.get(world.id)).end_reason is EndReason.ENDLIST


async def test_back_after_the_source_is_closed(world: World) -> None:
    world.show(50, 3)
    task = await world.new_process()
    await world.logs(3)
    await world.announce(EventKind.ENDED)
    await world.done(task)
    await world.announce(EventKind.STARTED)
    recording = await world.catalog.get(world.id)
    assert recording.ended_at is None
    assert [r.id for r in await world.catalog.to_capture()] == [world.id]
    world.show(0, 2, clip="new")
    task = await world.new_process()
    await world.logs(5)
    assert world.seen() == [*numbers(50, 53), "new0", "new1"]
    await world.announce(EventKind.ENDED)
    await world.done(task)


async def test_back_while_an_end_that_was_seen_is_written_down(world: World) -> None:
    """The catalogue was away: first it hears that the stream is back, then that it had ended."""
    world.show(0, 3)
    task = await world.new_process()
    await world.logs(3)
    world.catalog.away = True
    await end(world, 0, 3)
    await asyncio.sleep(0.1)
    await world.announce(EventKind.STARTED)
    world.catalog.away = False
    async with asyncio.timeout(5):
        await task
    recording = await world.catalog.get(world.id)
    assert recording.end_reason is None
    assert [r.id for r in await world.catalog.to_capture()] == [world.id]


# --- reading playlists --------------------------------------------------------------------------


async def test_a_listing_that_fails_loses_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than twenty segments at once: their sizes are listed."""
    listing, failures = world.origin.list, [ObjectMissing("no")]

    def sometimes(bucket: str, prefix: str) -> object:
        if failures:
            raise failures.pop()
        return listing(bucket, prefix)

    monkeypatch.setattr(world.origin, "list", sometimes)
    world.show(0, 30)
    task = await world.new_process()
    await world.logs(30)
    assert world.seen() == numbers(0, 30)
    task.cancel()


MASTER = """#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="one",URI="sound.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=1000000,AUDIO="a"
pictures.m3u8
"""
PICTURES, SOUND = "stream/pictures.m3u8", "stream/sound.m3u8"


async def test_sound_that_hangs_does_not_hold_up_the_pictures(world: World) -> None:
    world.origin.set("stream/stream.m3u8", MASTER)
    world.show(0, 3, name=PICTURES)
    world.show(0, 3, name=SOUND, clip="sound")
    task = await world.new_process()
    await world.logs(3, 1)
    world.origin.acts["sound.m3u8"] = [2.0]
    for first in range(1, 12):
        world.show(first, 3, name=PICTURES)
        world.show(first, 3, name=SOUND, clip="sound")
        await asyncio.sleep(0.12)
    await world.logs(14)
    await world.logs(14, 1)
    assert world.seen() == numbers(0, 14)
    world.show(11, 3, name=PICTURES, ended=True)
    world.show(11, 3, name=SOUND, clip="sound", ended=True)
    await world.done(task)
    sounds = world.seen(1)
    assert sounds[:3] == ["sound0", "sound1", "sound2"]
    assert sounds[-3:] == ["sound11", "sound12", "sound13"]


async def test_sound_that_vanishes(world: World) -> None:
    world.origin.set("stream/stream.m3u8", MASTER)
    world.show(0, 20, name=PICTURES)
    world.show(0, 3, name=SOUND, clip="sound")
    task = await world.new_process()
    await world.logs(3, 1)
    world.origin.delete(BUCKET, [SOUND])
    world.show(0, 20, name=PICTURES, ended=True)
    await world.done(task)
    assert len(world.log()) == 20
    assert [s.duration_s for s in world.log(1) if s.is_gap] == [17.0]


# --- how far behind it is -------------------------------------------------------------------------


async def test_a_live_stream_lags_by_the_time_since_something_was_kept(world: World) -> None:
    world.show(0, 1)
    task = await world.new_process()
    capture = world.capture
    assert capture is not None
    await world.logs(1)
    await world.until(lambda: (capture.lag_s or 0) > 0.3)
    world.show(0, 2)
    await world.logs(2)
    assert capture.lag_s is not None
    assert capture.lag_s < 0.3
    await world.announce(EventKind.ENDED)
    await world.until(lambda: capture.lag_s is None)
    await world.done(task)


async def test_a_stream_that_is_not_there_lags_from_when_it_was_told(world: World) -> None:
    await world.new_process()
    capture = world.capture
    assert capture is not None
    await world.until(lambda: (capture.lag_s or 0) > 0.2)
