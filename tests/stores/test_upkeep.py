"""What a service of years does beside recording, on real PostgreSQL and S3."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from actors.orphans import sweep_bucket
from actors.sweep import Sweeper
from actors.upkeep import Housekeeper
from pipeline.errors import Conflict, RecordingNotFound
from pipeline.gaps import CLOCK_JUMPS
from pipeline.model import Gap
from pipeline.rebuild import rebuild
from pipeline.retention import note
from pipeline.settings import Settings
from pipeline.stores.catalog_postgres import PostgresCatalog
from pipeline.stores.objects_s3 import S3Store
from pipeline.stores.platform_postgres import PostgresPlatform
from pipeline.stores.upkeep import AUDIT_KEPT, CHANGES_KEPT, TASKS_KEPT, Upkeep
from tests.conftest import S3
from tests.stores.recorded import REPORT, Buckets, begun, completed

DAY = timedelta(days=1)
WINDOW = timedelta(seconds=60)


@pytest.fixture
async def catalog(database: str) -> AsyncIterator[PostgresCatalog]:
    catalog = PostgresCatalog(database, reconnect_window=WINDOW, profile="copy")
    await catalog.open()
    yield catalog
    await catalog.close()


@pytest.fixture
def upkeep(catalog: PostgresCatalog) -> Upkeep:
    return Upkeep(catalog.database)


@pytest.fixture
def buckets(s3: S3, new_bucket_name: Callable[[], str]) -> Buckets:
    store = S3Store(s3.endpoint, s3.access_key, s3.secret_key, secure=False)
    made = Buckets(store, new_bucket_name(), new_bucket_name())
    for bucket in (made.live, made.results):
        store.ensure_bucket(bucket)
    return made


@pytest.fixture
def keep(catalog: PostgresCatalog, upkeep: Upkeep, buckets: Buckets) -> Callable[..., Housekeeper]:
    """A housekeeper with these settings."""

    def made(**settings: Any) -> Housekeeper:
        return Housekeeper(
            Settings(
                _env_file=None,
                minio_bucket=buckets.results,
                minio_hls_bucket=buckets.live,
                **settings,
            ),
            catalog,
            PostgresPlatform(catalog.database),
            upkeep,
            buckets.store,
        )

    return made


async def rows(catalog: PostgresCatalog, sql: str, *arguments: object) -> list[asyncpg.Record]:
    return await catalog.database.run(lambda connection: connection.fetch(sql, *arguments))


# --- recordings that are too old ----------------------------------------------------------------


async def test_old_recordings_go_but_those_that_are_kept(
    catalog: PostgresCatalog, buckets: Buckets, keep: Callable[..., Housekeeper]
) -> None:
    old = await buckets.record(catalog, "old", age=31 * DAY)
    kept = await buckets.record(catalog, "kept", age=31 * DAY)
    await catalog.set_keep(kept.id, True)
    young = await buckets.record(catalog, "young", age=29 * DAY)
    live = await begun(catalog, "live")
    foreign = "old/holiday.mp4"
    buckets.store.put(buckets.results, foreign, b"mine", "")

    await keep().expire_recordings()
    assert len(await catalog.list()) == 4, "without RETENTION_DAYS nothing is too old"
    await keep(retention_days=30).expire_recordings()
    assert {r.id for r in await catalog.list()} == {kept.id, young.id, live}
    with pytest.raises(RecordingNotFound):
        await catalog.get(old.id)
    await Sweeper(catalog, buckets.store, buckets.results).remove_deleted()
    assert buckets.keys(buckets.results, "old") == {foreign}
    assert len(buckets.keys(buckets.results)) == 7
    (line,) = await rows(catalog, "SELECT * FROM audit")
    assert (line["actor"], line["action"], line["subject"]) == (
        "retention",
        "recording.expire",
        str(old.id),
    )
    await catalog.set_keep(kept.id, False)
    await keep(retention_days=30).expire_recordings()
    assert {r.id for r in await catalog.list()} == {young.id, live}


async def test_one_that_is_kept_meanwhile_stays(catalog: PostgresCatalog, upkeep: Upkeep) -> None:
    recording = await completed(catalog, "k", age=31 * DAY)
    (found,) = await upkeep.expired(datetime.now(UTC) - DAY)
    await catalog.set_keep(recording.id, True)
    with pytest.raises(Conflict, match="kept"):
        await catalog.delete(found.id, spare_kept=True)
    await catalog.delete(found.id)


async def test_failed_ones_go_by_their_begin(catalog: PostgresCatalog, upkeep: Upkeep) -> None:
    failed = await begun(catalog, "k")
    await catalog.fail(failed, "no playlist")
    assert await upkeep.expired(datetime.now(UTC) - DAY) == ()
    await rows(catalog, "UPDATE recordings SET created_at = created_at - interval '2 days'")
    assert [r.id for r in await upkeep.expired(datetime.now(UTC) - DAY)] == [failed]


# --- what the bucket says -----------------------------------------------------------------------


async def test_the_bucket_is_told_again_when_something_changes(
    catalog: PostgresCatalog, upkeep: Upkeep, buckets: Buckets, keep: Callable[..., Housekeeper]
) -> None:
    recording = await buckets.record(catalog, "k")
    key = "k/recording.json"
    await keep().tell_bucket()
    first = buckets.store.stat(buckets.results, key)
    assert await upkeep.to_note(10) == ()
    await catalog.describe(recording.id, "A talk", "u2")
    await keep().tell_bucket()
    assert buckets.store.stat(buckets.results, key).etag != first.etag
    assert b'"A talk"' in buckets.store.get(buckets.results, key, max_bytes=2**20)
    await catalog.delete(recording.id)
    await Sweeper(catalog, buckets.store, buckets.results).remove_deleted()
    assert buckets.keys(buckets.results) == set()


async def test_the_catalogue_from_the_bucket_alone(
    catalog: PostgresCatalog, upkeep: Upkeep, buckets: Buckets, keep: Callable[..., Housekeeper]
) -> None:
    recording = await buckets.record(catalog, "k")
    await keep().tell_bucket()
    await rows(catalog, "TRUNCATE recordings, object_names CASCADE")
    told = [one async for one in rebuild(upkeep, buckets.store, buckets.results, dry_run=True)]
    assert [(one.key, one.is_new) for one in told] == [("k/recording.json", True)]
    assert await catalog.list() == ()
    for is_new in (True, False):
        told = [one async for one in rebuild(upkeep, buckets.store, buckets.results)]
        assert [(one.is_new, one.problem) for one in told] == [(is_new, "")]
    again = await catalog.get(recording.id)
    same = ("file_path", "file_size", "started_at", "completed_at", "created_at", "renditions")
    assert [getattr(again, name) for name in same] == [getattr(recording, name) for name in same]
    assert await catalog.report(recording.id) == REPORT
    assert await catalog.unpublished() == ()
    assert await catalog.claim_name(await begun(catalog, "x"), ["k", "k_2"]) == "k_2"


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        ("missing", "NoSuchKey"),
        ("shorter", "has 3 bytes where its recording has 4"),
        ("untold", "Nothing in the bucket tells"),
        ("garbage", "tells of no recording"),
        ("taken", "is the recording"),
    ],
)
async def test_what_the_bucket_cannot_tell_is_named(
    spoil: str,
    problem: str,
    catalog: PostgresCatalog,
    upkeep: Upkeep,
    buckets: Buckets,
    keep: Callable[..., Housekeeper],
) -> None:
    await buckets.record(catalog, "k")
    await keep().tell_bucket()
    await rows(catalog, "TRUNCATE recordings, object_names CASCADE")
    match spoil:
        case "missing":
            buckets.store.delete(buckets.results, ["k.mp4"])
        case "shorter":
            buckets.store.put(buckets.results, "k.mp4", b"dat", "")
        case "untold":
            buckets.store.delete(buckets.results, ["k/recording.json"])
            # Of this one the bucket will be told soon.
            await buckets.record(catalog, "new")
        case "garbage":
            buckets.store.put(buckets.results, "k/recording.json", b"{}", "")
        case "taken":
            await completed(catalog, "k")
    (told,) = [one async for one in rebuild(upkeep, buckets.store, buckets.results)]
    assert problem.lower() in told.problem.lower()
    assert len(await catalog.list()) == (spoil in ("taken", "untold"))


# --- live segments whose recording is safe ------------------------------------------------------


async def test_a_source_goes_once_its_recording_is_old_enough(
    catalog: PostgresCatalog, buckets: Buckets, keep: Callable[..., Housekeeper]
) -> None:
    await buckets.record(catalog, "k", age=timedelta(minutes=50))
    buckets.store.put(buckets.live, "k/notes.txt", b"not named", "")
    there = buckets.keys(buckets.live)
    await keep().tell_bucket()
    await keep().remove_sources()
    await keep(delete_source_after=timedelta(0)).remove_sources()
    assert buckets.keys(buckets.live) == there, "it was off when the recording was completed"

    await rows(catalog, "UPDATE recordings SET noted_at = NULL")
    await keep(delete_source_after=timedelta(hours=1)).tell_bucket()
    await keep(delete_source_after=timedelta(hours=1)).remove_sources()
    assert buckets.keys(buckets.live) == there, "it is too young"
    await rows(catalog, "UPDATE recordings SET completed_at = completed_at - interval '11 min'")
    await keep(delete_source_after=timedelta(hours=1)).remove_sources()
    assert buckets.keys(buckets.live) == {"k/notes.txt"}
    (line,) = await rows(catalog, "SELECT action, details FROM audit")
    assert (line["action"], line["details"]) == ("source.delete", '{"objects": 3}')
    assert await rows(catalog, "SELECT FROM source_objects") == []


async def test_a_later_broadcast_in_the_same_folder_keeps_what_is_its_own(
    catalog: PostgresCatalog, buckets: Buckets, keep: Callable[..., Housekeeper]
) -> None:
    await buckets.record(catalog, "k", age=timedelta(minutes=50))
    house = keep(delete_source_after=timedelta(0))
    await house.tell_bucket()
    # One segment of the earlier broadcast is left, the others are written over.
    buckets.store.put(buckets.live, "k/1.ts", b"the next broadcast", "")
    buckets.store.put(buckets.live, "k/stream.m3u8", b"#EXTM3U\n#EXTINF:4,\n1.ts\n", "")
    live = await begun(catalog, "k", timedelta(minutes=5))
    await house.remove_sources()
    assert len(buckets.keys(buckets.live)) == 3, "the key is live"
    await catalog.fail(live, "it was a test")
    await house.remove_sources()
    assert buckets.keys(buckets.live) == {"k/1.ts", "k/stream.m3u8"}


GAP = Gap(start_s=4.0, duration_s=2.0, reason="404 Not Found", segments=(1,))
JUMP = Gap(start_s=4.0, duration_s=2.0, reason=CLOCK_JUMPS, segments=(1,))


@pytest.mark.parametrize(
    ("case", "goes"),
    [("gap", False), ("jump", True), ("no result", False), ("deleted", False), ("window", False)],
)
async def test_a_source_that_may_be_needed_stays(
    case: str,
    goes: bool,
    catalog: PostgresCatalog,
    buckets: Buckets,
    keep: Callable[..., Housekeeper],
) -> None:
    gaps = {"gap": (GAP,), "jump": (JUMP,)}.get(case, ())
    recording = await buckets.record(catalog, "k", gaps=gaps, age=DAY)
    house = keep(delete_source_after=timedelta(0))
    if case == "window":
        await rows(catalog, "UPDATE recordings SET resumable = true, updated_at = now()")
    await house.tell_bucket()
    match case:
        case "no result":
            buckets.store.delete(buckets.results, ["k.mp4"])
        case "deleted":
            await catalog.delete(recording.id)
    await house.remove_sources()
    assert (buckets.keys(buckets.live) == set()) is goes


# --- what is nobody's ---------------------------------------------------------------------------


async def test_orphans_go_when_they_are_old_and_what_is_foreign_stays(
    catalog: PostgresCatalog, upkeep: Upkeep, buckets: Buckets
) -> None:
    await buckets.record(catalog, "mine")
    gone = await buckets.record(catalog, "gone")
    await catalog.delete(gone.id)
    await catalog.mark_removed(gone.id)
    failed = await begun(catalog, "failed")
    await catalog.claim_name(failed, ["failed"])
    await catalog.fail(failed, "it was a test")
    live = await begun(catalog, "live")
    await catalog.claim_name(live, ["live"])
    for key in ("failed.mp4", "gone/holiday.mp4", "holiday.mp4", "notes/notes.txt"):
        buckets.store.put(buckets.results, key, b"data", "")
    for key in ("gone.mp4", "failed.mp4", "live.mp4", "foreign.mp4"):
        buckets.store.create_upload(buckets.results, key, "video/mp4")
    there = buckets.keys(buckets.results)

    found = await sweep_bucket(upkeep, buckets.store, buckets.results)
    assert (found.removed, found.foreign) == (0, 4)
    assert buckets.keys(buckets.results) == there, "they are too young"
    later = datetime.now(UTC) + timedelta(hours=25)
    found = await sweep_bucket(upkeep, buckets.store, buckets.results, now=later)
    assert (found.removed, found.foreign, found.foreign_bytes) == (4, 4, 12)
    assert buckets.keys(buckets.results) == {
        *("mine.mp4", "mine/master.m3u8", "mine/source.m3u8"),
        *("gone/holiday.mp4", "holiday.mp4", "notes/notes.txt"),
    }
    left = {upload.key for upload in buckets.store.uploads(buckets.results, "")}
    assert left == {"live.mp4", "foreign.mp4"}


async def test_what_is_staged_for_somebody_unknown_goes_when_it_is_old(
    catalog: PostgresCatalog, buckets: Buckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = ".vodray/e410066c-8d50-4e0f-965f-452af1814ffa/live/0"
    over = await completed(catalog, "k")
    for key in (unknown, f".vodray/{over.id}/live/0", ".vodray/notes.txt"):
        buckets.store.put(buckets.results, key, b"data", "")
    sweeper = Sweeper(catalog, buckets.store, buckets.results)
    await sweeper.remove_orphans()
    assert buckets.keys(buckets.results) == {unknown, ".vodray/notes.txt"}
    monkeypatch.setattr("actors.orphans.ORPHAN_AGE", timedelta(0))
    await sweeper.remove_orphans()
    assert buckets.keys(buckets.results) == {".vodray/notes.txt"}


async def test_rows_of_the_past_go(catalog: PostgresCatalog, upkeep: Upkeep) -> None:
    old = await completed(catalog, "old")
    await catalog.delete(old.id)
    await catalog.mark_removed(old.id)
    await completed(catalog, "there")
    waiting = await begun(catalog, "live")
    await catalog.mark_published([change.id for change in await catalog.unpublished()][:-1])
    platform = PostgresPlatform(catalog.database)
    await note(platform, "recording.expire", old)
    now = datetime.now(UTC)
    assert await upkeep.prune(now) == {}
    soon = timedelta(minutes=1)
    assert await upkeep.prune(now + CHANGES_KEPT + soon) == {"state_changes": 6}
    assert await upkeep.prune(now + TASKS_KEPT + soon) == {
        "tasks": 3,
        "state_changes": 1,
        "recordings": 1,
    }
    assert await upkeep.prune(now + AUDIT_KEPT + soon) == {"audit": 1}
    assert len(await catalog.list()) == 2
    assert (await catalog.get(waiting)).id == waiting
    # A name stays taken, so that a link to a deleted result never shows another.
    assert await catalog.claim_name(waiting, ["old", "new"]) == "new"
