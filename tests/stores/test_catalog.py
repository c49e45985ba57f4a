"""What both catalogues promise, on both."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from uuid import UUID, uuid4

import pytest

from pipeline.chunk_map import ChunkOutcome
from pipeline.errors import Conflict, InvalidTask, RecordingNotFound
from pipeline.model import (
    ByteRange,
    ChunkRecord,
    ChunkSpec,
    EncodedPictures,
    EndReason,
    EventKind,
    Finding,
    Gap,
    InitSection,
    Opened,
    Origin,
    Output,
    Part,
    Progress,
    Rendition,
    Segment,
    SegmentKey,
    Sound,
    SourceState,
    Status,
    StreamEvent,
    Stretch,
    Upload,
)
from pipeline.stores.catalog import Catalog, Completion, Wanted
from pipeline.stores.catalog_memory import MemoryCatalog
from pipeline.stores.catalog_postgres import PostgresCatalog

T0 = datetime(2025, 10, 5, 18, tzinfo=UTC)
WINDOW = timedelta(seconds=60)
HOSTILE = "a\0b\ud800c \U0001f600 ' -- \\u0000"


@pytest.fixture(params=["memory", "postgres"])
def closed_catalog(request: pytest.FixtureRequest) -> Catalog:
    if request.param == "memory":
        return MemoryCatalog(reconnect_window=WINDOW, profile="copy")
    dsn = request.getfixturevalue("database")
    return PostgresCatalog(dsn, reconnect_window=WINDOW, profile="copy")


@pytest.fixture
async def catalog(closed_catalog: Catalog) -> AsyncIterator[Catalog]:
    await closed_catalog.open()
    yield closed_catalog
    await closed_catalog.close()


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def event(kind: EventKind, seconds: float, **more: object) -> StreamEvent:
    fields = {"stream_id": "xyz-stream-id", "origin": Origin.WEBHOOK, **more}
    return StreamEvent(kind=kind, occurred_at=at(seconds), **fields)


def started(seconds: float, **more: object) -> StreamEvent:
    return event(EventKind.STARTED, seconds, **more)


def ended(seconds: float, **more: object) -> StreamEvent:
    return event(EventKind.ENDED, seconds, **more)


async def make(catalog: Catalog, **more: object) -> UUID:
    accepted = await catalog.accept(started(0, stream_id=str(uuid4()), **more))
    assert accepted.recording_id is not None
    return accepted.recording_id


async def finish(catalog: Catalog, recording_id: UUID, fingerprint: str | None = None) -> None:
    """Completed, 100 s long, its end seen by us."""
    await catalog.set_source(recording_id, "live/k/stream.m3u8", fingerprint)
    await catalog.mark_ended(recording_id, at(100), EndReason.ENDLIST)
    await catalog.mark_processing(recording_id)
    await catalog.complete(recording_id, completion(), {"ok": True})


def completion(file_path: str = "recordings/k.mp4") -> Completion:
    return Completion(
        file_path=file_path,
        duration=100,
        file_size=5_000_000_000,
        completed_at=at(110),
        thumbnail_path="recordings/k/poster.jpg",
        gaps=(
            Gap(start_s=4.0, duration_s=2.5, reason="missing", segments=(7, 8), wall_clock=at(4)),
        ),
        renditions=(
            Rendition(
                name="source",
                file_path=file_path,
                codecs="avc1.64001f,mp4a.40.2",
                bandwidth=3_000_000,
                average_bandwidth=2_500_000,
                width=1280,
                height=720,
                frame_rate=25.0,
            ),
        ),
    )


def chunk(index: int, uri: str = "http://example.test/7.ts") -> ChunkSpec:
    segment = Segment(
        sequence=7,
        uri=uri,
        duration_s=4.004,
        discontinuity=True,
        byte_range=ByteRange(offset=1, length=2),
        init=InitSection(uri="init.mp4", byte_range=ByteRange(offset=0, length=900)),
        key=SegmentKey(uri="key.bin", iv="0" * 32),
        program_date_time=at(28),
        size_bytes=1_500_000,
    )
    return ChunkSpec(
        index=index,
        anchor_s=3,
        main=Stretch(segments=(segment,), start_s=28.028, before=segment),
        audio=(Stretch(segments=(segment,), start_s=0.0, sound=Sound(name="de", shift_s=0.5)),),
    )


def upload(rendition: str, key: str, upload_id: str) -> Upload:
    return Upload(key=key, upload_id=upload_id, output=Output(rendition=rendition))


def done(
    index: int, *, etag: str = "e", staging_key: str | None = None, rendition: str = "source"
) -> ChunkRecord:
    part = None if staging_key else Part(number=index + 2, etag=etag, size_bytes=6_000_000)
    return ChunkRecord(
        index_number=index,
        size_bytes=6_000_000,
        part=part,
        staging_key=staging_key,
        index=b"\x00\xffindex",
        report={"frames": 100, "problems": ["a", None, 1.5]},
        rendition=rendition,
    )


# --- tasks -------------------------------------------------------------------------------------
async def test_the_first_event_makes_a_recording(catalog: Catalog) -> None:
    accepted = await catalog.accept(
        started(0, stream_key="k", user_id="u", hls_path="live/k.m3u8", profile="abr")
    )
    recording = await catalog.get(accepted.recording_id)
    assert recording.status is Status.RECORDING
    assert (recording.stream_id, recording.stream_key) == ("xyz-stream-id", "k")
    assert (recording.user_id, recording.source) == ("u", "live/k.m3u8")
    assert (recording.profile, recording.started_at) == ("abr", T0)
    assert recording.end_reason is recording.ended_at is None
    assert accepted.outcome.startswith("created: ")


async def test_an_end_alone_makes_a_recording_that_has_ended(catalog: Catalog) -> None:
    accepted = await catalog.accept(ended(100, origin=Origin.KAFKA, started_at=T0))
    recording = await catalog.get(accepted.recording_id)
    assert (recording.started_at, recording.ended_at) == (T0, at(100))
    assert (recording.end_reason, recording.profile) == (EndReason.EVENT, "copy")


async def test_twice_by_webhook_and_twice_by_kafka_is_one_recording(catalog: Catalog) -> None:
    kafka = {"origin": Origin.KAFKA}
    events = [started(0, stream_key="k"), started(1, **kafka), ended(9, stream_key="k"),
              ended(10, started_at=at(1), **kafka)]  # fmt: skip
    accepted = [await catalog.accept(e) for e in [*events, *events]]
    assert len({a.recording_id for a in accepted}) == 1
    assert len({a.task_id for a in accepted}) == 8
    (recording,) = await catalog.list()
    assert (recording.started_at, recording.ended_at) == (T0, at(10))


async def test_events_at_the_same_moment_make_one_recording(catalog: Catalog) -> None:
    events = [started(n % 3, stream_key="k", stream_id=f"id-{n % 2}") for n in range(24)]
    accepted = await asyncio.gather(*map(catalog.accept, events))
    assert len({a.recording_id for a in accepted}) == 1
    assert len(await catalog.list()) == 1


async def test_streams_do_not_mix(catalog: Catalog) -> None:
    first = await catalog.accept(started(0, stream_id="1", stream_key="k1"))
    second = await catalog.accept(started(0, stream_id="2", stream_key="k2"))
    third = await catalog.accept(started(0, stream_id="3"))
    assert len({first.recording_id, second.recording_id, third.recording_id}) == 3


async def test_a_stream_is_known_by_its_key_too(catalog: Catalog) -> None:
    first = await catalog.accept(started(0, stream_id="1", stream_key="k"))
    again = await catalog.accept(ended(50, stream_id="2", stream_key="k"))
    assert again.recording_id == first.recording_id


async def test_a_second_broadcast_is_a_second_recording(catalog: Catalog) -> None:
    first = await catalog.accept(started(0))
    await catalog.accept(ended(100))
    second = await catalog.accept(started(500))
    late = await catalog.accept(ended(100))
    assert late.recording_id == first.recording_id != second.recording_id
    assert (await catalog.get(second.recording_id)).ended_at is None


async def test_a_reconnect_takes_the_end_back(catalog: Catalog) -> None:
    first = await catalog.accept(started(0))
    await catalog.accept(ended(100))
    await catalog.mark_processing(first.recording_id)
    back = await catalog.accept(started(130))
    assert back.recording_id == first.recording_id
    recording = await catalog.get(first.recording_id)
    assert (recording.status, recording.ended_at) == (Status.RECORDING, None)
    with pytest.raises(Conflict):
        await catalog.complete(first.recording_id, completion(), {})
    with pytest.raises(Conflict):
        await catalog.mark_processing(first.recording_id)


@pytest.mark.parametrize(("found", "is_new"), [("print", False), ("other", True)])
async def test_an_orphan_end_waits_for_a_look(catalog: Catalog, found: str, is_new: bool) -> None:
    first = await catalog.accept(started(0))
    await finish(catalog, first.recording_id, fingerprint="print")
    orphan = ended(900, hls_path="live/k.m3u8")
    accepted = await catalog.accept(orphan)
    assert accepted.recording_id is None
    assert accepted.outcome.startswith("waiting: ")
    assert await catalog.undecided() == ((accepted.task_id, orphan),)

    decided = await catalog.decide(accepted.task_id, found)

    assert decided.task_id == accepted.task_id
    assert (decided.recording_id != first.recording_id) is is_new
    assert await catalog.undecided() == ()
    assert await catalog.decide(accepted.task_id, "whatever") == decided
    assert len(await catalog.list()) == 1 + is_new


async def test_what_is_too_late_is_ignored_and_not_left_waiting(catalog: Catalog) -> None:
    await catalog.accept(started(0))
    accepted = await catalog.accept(ended(-500))
    assert accepted.recording_id is None
    assert accepted.outcome.startswith("ignored: ")
    assert await catalog.undecided() == ()


async def test_a_task_that_is_not_there_cannot_be_decided(catalog: Catalog) -> None:
    with pytest.raises(Conflict):
        await catalog.decide(12345, None)


BAD = {
    "nul": {"stream_id": "a\0b"},
    "surrogate": {"stream_key": "\ud800"},
    "empty": {"stream_id": ""},
    "endless": {"hls_path": "x" * 5000},
    "no time zone": {"started_at": datetime(2025, 10, 5)},  # noqa: DTZ001
    "year one": {"started_at": datetime.min.replace(tzinfo=UTC)},
    "far future": {"started_at": datetime(2999, 1, 1, tzinfo=UTC)},
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
async def test_events_that_cannot_be_stored_are_refused(
    catalog: Catalog, bad: dict[str, object]
) -> None:
    with pytest.raises(InvalidTask):
        await catalog.accept(started(0, **bad))
    assert await catalog.list() == ()
    assert (await catalog.accept(started(0))).recording_id is not None


# --- recordings --------------------------------------------------------------------------------
async def test_an_unknown_recording(catalog: Catalog) -> None:
    nobody = uuid4()
    for call in (
        catalog.get(nobody),
        catalog.report(nobody),
        catalog.mark_processing(nobody),
        catalog.fail(nobody, "x"),
        catalog.claim_name(nobody, ["x"]),
        catalog.is_repeat(nobody, "x"),
        catalog.open_source(nobody, OPENED),
        catalog.close_source(nobody, None),
        catalog.add_finding(nobody, finding(0)),
        catalog.add_uploads(nobody, [upload("r", "k", "u")]),
        catalog.plan_chunk(nobody, chunk(0)),
        catalog.finish_chunks(nobody, [done(0)]),
        catalog.forget_ledger(nobody),
    ):
        with pytest.raises(RecordingNotFound):
            await call


async def test_a_listing_in_pages(catalog: Catalog) -> None:
    made = [await make(catalog) for _ in range(5)]
    pages, before = [], None
    while page := await catalog.list(limit=2, before=before):
        pages.append([r.id for r in page])
        before = (page[-1].created_at, page[-1].id)
    newest_first = made[::-1]
    assert pages == [newest_first[:2], newest_first[2:4], newest_first[4:]]


async def test_unfinished_ones_oldest_first(catalog: Catalog) -> None:
    made = [await make(catalog) for _ in range(4)]
    await finish(catalog, made[0])
    await catalog.fail(made[2], "lost")
    assert [r.id for r in await catalog.unfinished()] == [made[1], made[3]]


async def test_they_are_counted_by_status(catalog: Catalog) -> None:
    assert await catalog.tally() == {}
    made = [await make(catalog) for _ in range(5)]
    await finish(catalog, made[0])
    await finish(catalog, made[1])
    await catalog.fail(made[2], "lost")
    await finish(catalog, made[3])
    await catalog.delete(made[3])
    told = await catalog.tally()
    assert {status: one.recordings for status, one in told.items()} == {
        Status.RECORDING: 1,
        Status.COMPLETED: 2,
        Status.FAILED: 1,
    }
    assert told[Status.COMPLETED].file_size == 2 * completion().file_size
    assert 0 <= told[Status.RECORDING].unchanged_s < 60


async def test_a_name_belongs_to_one_recording_for_ever(catalog: Catalog) -> None:
    first, second, third = [await make(catalog) for _ in range(3)]
    assert await catalog.claim_name(first, ["k", "k_1"]) == "k"
    assert await catalog.claim_name(first, ["other"]) == "k"
    assert await catalog.claim_name(second, ["k", "k_2"]) == "k_2"
    with pytest.raises(Conflict):
        await catalog.claim_name(third, ["k", "k_2"])
    assert (await catalog.get(second)).object_name == "k_2"


async def test_a_race_for_a_name_has_one_winner(catalog: Catalog) -> None:
    made = [await make(catalog) for _ in range(8)]
    names = await asyncio.gather(*(catalog.claim_name(m, ["k", f"k_{m}"]) for m in made))
    assert min(names) == "k"
    assert len(set(names)) == 8


async def test_progress_does_not_go_back(catalog: Catalog) -> None:
    recording_id = await make(catalog)
    far = Progress(segments=10, chunks_done=4, chunks_total=5, seconds=40.04)
    await catalog.report_progress(recording_id, 40, far)
    await catalog.report_progress(recording_id, 8, Progress(segments=2, seconds=8.0))
    recording = await catalog.get(recording_id)
    assert (recording.duration, recording.progress) == (40, far)
    await finish(catalog, recording_id)
    await catalog.report_progress(recording_id, 4000, Progress(segments=1000))
    assert (await catalog.get(recording_id)).duration == 100


async def test_the_end_that_an_event_told_stays(catalog: Catalog) -> None:
    recording_id = await make(catalog)
    await catalog.mark_ended(recording_id, at(90), EndReason.STALL)
    recording = await catalog.get(recording_id)
    assert (recording.ended_at, recording.end_reason) == (at(90), EndReason.STALL)
    await catalog.accept(ended(100, stream_id=recording.stream_id))
    await catalog.mark_ended(recording_id, at(91), EndReason.GONE)
    recording = await catalog.get(recording_id)
    assert (recording.ended_at, recording.end_reason) == (at(100), EndReason.EVENT)


async def test_the_way_to_completed(catalog: Catalog) -> None:
    recording_id = await make(catalog)
    with pytest.raises(Conflict):
        await catalog.mark_processing(recording_id)
    await catalog.mark_ended(recording_id, at(100), EndReason.ENDLIST)
    with pytest.raises(Conflict):
        await catalog.complete(recording_id, completion(), {})
    await catalog.mark_processing(recording_id)
    await catalog.mark_processing(recording_id)
    assert await catalog.report(recording_id) is None

    report = {"frames": {"in": 2500, "out": 2500}, "text": "ü"}
    completed = await catalog.complete(recording_id, completion(), report)

    assert completed == await catalog.get(recording_id)
    assert completed.status is Status.COMPLETED
    assert (completed.gaps, completed.renditions) == (completion().gaps, completion().renditions)
    assert (completed.file_size, completed.completed_at) == (5_000_000_000, at(110))
    assert completed.updated_at >= completed.created_at
    assert await catalog.report(recording_id) == report


async def test_a_final_recording_never_changes(catalog: Catalog) -> None:
    completed, lost = await make(catalog), await make(catalog)
    await finish(catalog, completed)
    await catalog.fail(lost, "first", {"n": 1})
    before = [await catalog.get(completed), await catalog.get(lost)]

    assert await catalog.complete(completed, completion("other.mp4"), {"n": 2}) == before[0]
    assert await catalog.fail(lost, "second", {"n": 2}) == before[1]
    for call in (
        catalog.fail(completed, "x"),
        catalog.complete(lost, completion(), {}),
        catalog.mark_processing(completed),
        catalog.set_source(lost, "x", None),
    ):
        with pytest.raises(Conflict):
            await call
    await catalog.mark_ended(lost, at(1), EndReason.STALL)

    assert [await catalog.get(completed), await catalog.get(lost)] == before
    assert await catalog.report(completed) == {"ok": True}
    assert await catalog.report(lost) == {"n": 1}


async def test_text_from_hostile_sources_can_be_stored(catalog: Catalog) -> None:
    recording_id = await make(catalog)
    await catalog.set_source(recording_id, HOSTILE, None)
    await catalog.plan_chunk(recording_id, chunk(0, uri=HOSTILE))
    failed = await catalog.fail(recording_id, HOSTILE, {HOSTILE: [HOSTILE]})
    want = "a\ufffdb\ufffdc \U0001f600 ' -- \\u0000"
    assert failed.error == failed.source == want
    assert (await catalog.get(recording_id)).error == want


async def test_a_fingerprint_stays_known(catalog: Catalog) -> None:
    recording_id = await make(catalog)
    await catalog.set_source(recording_id, "a", "print")
    await catalog.set_source(recording_id, "b", None)
    recording = await catalog.get(recording_id)
    assert (recording.source, recording.fingerprint) == ("b", "print")


async def test_content_is_a_repeat_if_an_earlier_recording_of_the_stream_holds_it(
    catalog: Catalog,
) -> None:
    async def broadcast(seconds: float, stream_id: str, key: str) -> UUID:
        accepted = await catalog.accept(started(seconds, stream_id=stream_id, stream_key=key))
        assert accepted.recording_id is not None
        return accepted.recording_id

    first = await broadcast(0, "s", "k")
    assert not await catalog.is_repeat(first, "print")
    await finish(catalog, first, "print")
    second = await broadcast(1000, "s", "k2")
    same_key = await broadcast(2000, "s2", "k")
    stranger = await broadcast(0, "s3", "k3")
    assert await catalog.is_repeat(second, "print")
    assert await catalog.is_repeat(same_key, "print")
    assert not await catalog.is_repeat(second, "other")
    assert not await catalog.is_repeat(stranger, "print")
    assert not await catalog.is_repeat(first, "print")


async def test_content_of_a_failed_recording_may_be_recorded_again(catalog: Catalog) -> None:
    first = (await catalog.accept(started(0))).recording_id
    assert first is not None
    await catalog.set_source(first, "live/k/stream.m3u8", "print")
    await catalog.fail(first, "lost")
    second = (await catalog.accept(started(1000))).recording_id
    assert second is not None
    assert second != first
    assert not await catalog.is_repeat(second, "print")


# --- ledger ------------------------------------------------------------------------------------
async def test_the_ledger_gives_back_what_it_was_given(catalog: Catalog) -> None:
    recording_id = await make(catalog)
    lower = replace(
        upload("720p", "k/720p.mp4", "u2"),
        number=1,
        output=Output(
            rendition="720p",
            pictures=EncodedPictures(
                encoder="libx264",
                width=1280,
                height=720,
                frame_rate=Fraction(30000, 1001),
                options=(("preset", "faster"),),
            ),
            has_sound=False,
        ),
    )
    uploads = (upload("source", "k.mp4", "u1"), lower)
    await catalog.add_uploads(recording_id, uploads[::-1])
    for index in (1, 0, 2):
        await catalog.plan_chunk(recording_id, chunk(index))
    await catalog.finish_chunks(recording_id, [done(2)])
    await catalog.finish_chunks(recording_id, [done(0, staging_key="k/0")])
    await catalog.finish_chunks(recording_id, [done(1), done(1, rendition="720p")])

    assert await catalog.uploads(recording_id) == uploads
    assert await catalog.planned(recording_id) == (chunk(0), chunk(1), chunk(2))
    assert await catalog.finished(recording_id) == (
        done(0, staging_key="k/0"),
        *sorted([done(1), done(1, rendition="720p")], key=lambda record: record.rendition),
        done(2),
    )


async def test_the_ledger_in_short(catalog: Catalog) -> None:
    recording_id = await make(catalog)
    for index in range(3):
        await catalog.plan_chunk(recording_id, chunk(index))
    main = replace(done(1), report={"lost": [], "tiles": [1], "timings_s": {"mux": 0.5}})
    await catalog.finish_chunks(recording_id, [done(1, rendition="720p"), main])
    await catalog.finish_chunks(recording_id, [done(0)])

    outlines = await catalog.outlines(recording_id)
    assert [(each.index, each.start_s, each.media_s) for each in outlines] == [
        (index, 28.028, 4.004) for index in range(3)
    ]
    assert await catalog.outlines(recording_id, 2) == outlines[2:]
    assert await catalog.outcomes(recording_id, [1, 0, 2]) == (
        ChunkOutcome(index=0, size_bytes=6_000_000, report={}),
        ChunkOutcome(
            index=1, size_bytes=12_000_000, report={"lost": [], "timings_s": {"mux": 0.5}}
        ),
    )
    assert await catalog.outcomes(recording_id, [2]) == ()
    assert len(await catalog.outcomes(recording_id, [0])) == 1


async def test_what_is_written_again_replaces(catalog: Catalog) -> None:
    recording_id = await make(catalog)
    await catalog.add_uploads(recording_id, [upload("r", "k", "old")])
    await catalog.add_uploads(recording_id, [upload("r", "k", "new")])
    await catalog.plan_chunk(recording_id, chunk(0, uri="old"))
    await catalog.plan_chunk(recording_id, chunk(0))
    await catalog.finish_chunks(recording_id, [done(0, etag="old")])
    await catalog.finish_chunks(recording_id, [done(0, etag="new")])
    assert [u.upload_id for u in await catalog.uploads(recording_id)] == ["new"]
    assert await catalog.planned(recording_id) == (chunk(0),)
    assert await catalog.finished(recording_id) == (done(0, etag="new"),)


async def test_chunks_whose_parts_are_gone_are_not_finished(catalog: Catalog) -> None:
    recording_id, other = await make(catalog), await make(catalog)
    for id_ in (recording_id, other):
        for index in range(3):
            await catalog.plan_chunk(id_, chunk(index))
        await catalog.finish_chunks(id_, [done(0, staging_key="k/0")])
        await catalog.finish_chunks(id_, [done(1), done(1, rendition="720p", staging_key="k/1")])
    assert await catalog.forget_parts(recording_id) == 1
    assert await catalog.finished(recording_id) == (done(0, staging_key="k/0"),)
    assert await catalog.forget_parts(recording_id) == 0
    await catalog.finish_chunks(recording_id, [done(1, etag="new")])
    assert done(1, etag="new") in await catalog.finished(recording_id)
    assert len(await catalog.finished(other)) == 3
    await finish(catalog, other)
    assert await catalog.forget_parts(other) == 0


async def test_chunks_are_finished_together_or_not_at_all(catalog: Catalog) -> None:
    recording_id = await make(catalog)
    await catalog.plan_chunk(recording_id, chunk(0))
    with pytest.raises(Conflict):
        await catalog.finish_chunks(recording_id, [done(0), done(1)])
    assert await catalog.finished(recording_id) == ()


async def test_the_plan_of_a_finished_chunk_stays(catalog: Catalog) -> None:
    recording_id = await make(catalog)
    await catalog.plan_chunk(recording_id, chunk(0))
    await catalog.finish_chunks(recording_id, [done(0)])
    await catalog.plan_chunk(recording_id, chunk(0))
    with pytest.raises(Conflict):
        await catalog.plan_chunk(recording_id, chunk(0, uri="other"))
    with pytest.raises(Conflict):
        await catalog.finish_chunks(recording_id, [done(1)])
    assert await catalog.planned(recording_id) == (chunk(0),)


async def test_the_ledger_of_a_final_recording_can_only_be_dropped(catalog: Catalog) -> None:
    recording_id, other = await make(catalog), await make(catalog)
    for id_ in (recording_id, other):
        await catalog.add_uploads(id_, [upload("r", "k", "u")])
        await catalog.plan_chunk(id_, chunk(0))
        await catalog.finish_chunks(id_, [done(0)])
        await catalog.open_source(id_, OPENED)
        await catalog.add_finding(id_, finding(0))
    with pytest.raises(Conflict):
        await catalog.forget_ledger(recording_id)
    await finish(catalog, recording_id)
    for call in (
        catalog.add_uploads(recording_id, [upload("r", "k", "u2")]),
        catalog.plan_chunk(recording_id, chunk(1)),
        catalog.finish_chunks(recording_id, [done(0)]),
        catalog.open_source(recording_id, OPENED),
        catalog.close_source(recording_id, None),
        catalog.add_finding(recording_id, finding(1)),
    ):
        with pytest.raises(Conflict):
            await call
    await catalog.forget_ledger(recording_id)
    await catalog.forget_ledger(recording_id)
    assert await catalog.uploads(recording_id) == await catalog.planned(recording_id) == ()
    assert await catalog.finished(recording_id) == ()
    assert await catalog.findings(recording_id) == ()
    assert await catalog.source_state(recording_id) is None
    assert await catalog.findings(other) == (finding(0),)
    assert len(await catalog.uploads(other)) == len(await catalog.planned(other)) == 1
    assert await catalog.finished(other) == (done(0),)


# --- source ------------------------------------------------------------------------------------
OPENED = Opened(
    ref="s3://hls/k/stream.m3u8",
    sounds=(Sound(name="Deutsch", language="de"),),
    dropped=("subtitles",),
)


def finding(number: int, *, uri: str = "staged:k") -> Finding:
    one = chunk(number, uri).main.segments
    return Finding(number=number, segments=(one, (), one[:1]))


async def test_what_is_captured_is_a_log(catalog: Catalog) -> None:
    recording_id = await make(catalog)
    assert await catalog.source_state(recording_id) is None
    assert await catalog.findings(recording_id) == ()
    await catalog.open_source(recording_id, OPENED)
    for number in range(3):
        await catalog.add_finding(recording_id, finding(number))
        await catalog.add_finding(recording_id, finding(number))
    assert await catalog.source_state(recording_id) == SourceState(opened=OPENED)
    assert await catalog.findings(recording_id) == tuple(map(finding, range(3)))
    assert await catalog.findings(recording_id, 2) == (finding(2),)
    assert await catalog.findings(recording_id, 3) == ()


async def test_nobody_writes_over_another_finding(catalog: Catalog) -> None:
    recording_id = await make(catalog)
    await catalog.add_finding(recording_id, finding(0))
    with pytest.raises(Conflict):
        await catalog.add_finding(recording_id, finding(0, uri="staged:other"))
    assert await catalog.findings(recording_id) == (finding(0),)


async def test_a_source_is_captured_until_it_is_complete_for_the_last_start(
    catalog: Catalog,
) -> None:
    recording_id = await make(catalog)

    async def is_due() -> bool:
        return recording_id in [recording.id for recording in await catalog.to_capture()]

    assert await is_due()
    await catalog.open_source(recording_id, OPENED)
    assert await is_due()
    begun = await catalog.get(recording_id)
    await catalog.close_source(recording_id, begun.last_start_at, "gone")
    state = await catalog.source_state(recording_id)
    assert state == SourceState(
        opened=OPENED, is_complete=True, last_start_at=begun.last_start_at, problem="gone"
    )
    assert not await is_due()
    # The stream is back: its source is open again.
    await catalog.accept(ended(10, stream_id=begun.stream_id))
    await catalog.accept(started(20, stream_id=begun.stream_id))
    again = await catalog.get(recording_id)
    assert state.is_final_for(begun)
    assert not state.is_final_for(again)
    assert await is_due()
    await catalog.close_source(recording_id, again.last_start_at)
    await finish(catalog, recording_id)
    assert not await is_due()


async def test_a_source_that_was_never_found(catalog: Catalog) -> None:
    recording_id = await make(catalog)
    await catalog.close_source(recording_id, None, HOSTILE)
    state = await catalog.source_state(recording_id)
    assert state is not None
    assert (state.opened, state.is_complete) == (None, True)


# --- news --------------------------------------------------------------------------------------
async def test_every_status_is_published_once_and_in_order(catalog: Catalog) -> None:
    recording_id = await make(catalog)
    await catalog.report_progress(recording_id, 1, Progress(segments=1))
    await finish(catalog, recording_id)
    other = await make(catalog)
    await catalog.fail(other, "lost")
    changes = await catalog.unpublished()
    assert [(c.recording.id, c.status) for c in changes] == [
        (recording_id, Status.RECORDING),
        (recording_id, Status.PROCESSING),
        (recording_id, Status.COMPLETED),
        (other, Status.RECORDING),
        (other, Status.FAILED),
    ]
    assert {c.recording.status for c in changes} == {Status.COMPLETED, Status.FAILED}
    assert [c.changed_at for c in changes] == sorted(c.changed_at for c in changes)

    await catalog.mark_published([changes[0].id, changes[2].id])
    await catalog.mark_published([changes[0].id])
    assert [c.id for c in await catalog.unpublished(limit=2)] == [changes[1].id, changes[3].id]


async def test_every_reader_hears_of_every_recording(catalog: Catalog) -> None:
    made = [await make(catalog) for _ in range(3)]

    async def hear() -> None:
        silent = set(made)
        async with aclosing(catalog.changes()) as changes:
            while silent:
                silent.discard(await anext(changes))

    readers = [asyncio.create_task(hear()) for _ in range(3)]
    async with asyncio.timeout(10):
        for seconds in range(1000):
            for recording_id in made:
                await catalog.report_progress(recording_id, seconds, Progress(segments=seconds))
            await asyncio.sleep(0.001)
            if all(reader.done() for reader in readers):
                break
        await asyncio.gather(*readers)


async def test_readers_end_when_the_catalogue_closes(catalog: Catalog) -> None:
    async def read() -> list[UUID]:
        return [recording_id async for recording_id in catalog.changes()]

    reader = asyncio.create_task(read())
    await asyncio.sleep(0.1)
    await catalog.close()
    async with asyncio.timeout(5):
        await reader


async def test_ping(catalog: Catalog) -> None:
    await catalog.ping()


async def test_a_stream_that_is_back_while_it_is_published_waits(catalog: Catalog) -> None:
    first = await catalog.accept(started(0))
    assert first.recording_id is not None
    with pytest.raises(Conflict):
        await catalog.mark_publishing(first.recording_id)
    await catalog.accept(ended(100))
    await catalog.mark_processing(first.recording_id)
    await catalog.mark_publishing(first.recording_id)
    await catalog.mark_publishing(first.recording_id)
    back = await catalog.accept(started(130))
    assert back.recording_id is None
    assert (await catalog.decide(back.task_id, None)).recording_id is None
    assert (await catalog.get(first.recording_id)).status is Status.PROCESSING
    await catalog.complete(first.recording_id, completion(), {})
    assert (await catalog.decide(back.task_id, None)).recording_id == first.recording_id
    assert await catalog.undecided() == ()


async def test_a_completed_recording_goes_on_if_its_stream_is_back(catalog: Catalog) -> None:
    id_ = (await catalog.accept(started(0))).recording_id
    assert id_ is not None
    await catalog.add_uploads(id_, [upload("r", "k", "u")])
    await catalog.accept(ended(100))
    await catalog.mark_processing(id_)
    done_ = await catalog.complete(id_, completion(), {})
    assert done_.resumable
    assert await catalog.settleable() == ()
    assert (await catalog.accept(started(150))).recording_id == id_
    again = await catalog.get(id_)
    assert (again.status, again.ended_at, again.resumable) == (Status.RECORDING, None, False)
    assert again.file_path == done_.file_path
    # What was completed once is not lost by what came after it.
    failed = await catalog.fail(id_, "the rest was bad")
    assert (failed.status, failed.error) == (Status.COMPLETED, "the rest was bad")
    assert id_ in [recording.id for recording in await catalog.settleable()]
    await catalog.forget_ledger(id_)
    assert await catalog.settleable() == ()
    back = await catalog.accept(started(155))
    assert back.recording_id not in (None, id_)


# --- changes by people ----------------------------------------------------------------------------


async def listed(catalog: Catalog, **wanted: object) -> list[UUID]:
    return [r.id for r in await catalog.list(wanted=Wanted(**wanted))]


async def test_lists_are_of_what_is_wanted(catalog: Catalog) -> None:
    first = await make(catalog, user_id="alice")
    second = await make(catalog, user_id="bob")
    await catalog.describe(first, "A Concert: 100% live_set", "alice")
    await finish(catalog, second)
    assert await listed(catalog) == [second, first]
    assert await listed(catalog, user_id="alice") == [first]
    assert await listed(catalog, statuses=(Status.COMPLETED,)) == [second]
    assert await listed(catalog, statuses=(Status.COMPLETED, Status.RECORDING)) == [second, first]
    assert await listed(catalog, text="CONCERT") == [first]
    assert await listed(catalog, text=str(second)[:13]) == [second]
    stream_id = (await catalog.get(second)).stream_id
    assert await listed(catalog, stream_id=stream_id) == [second]
    assert await listed(catalog, stream_id=stream_id[:8]) == []
    assert await listed(catalog, since=at(0)) == [second, first]
    assert await listed(catalog, until=at(0)) == []
    # What means something to LIKE means itself.
    assert await listed(catalog, text="100%") == [first]
    assert await listed(catalog, text="0_") == []
    assert await listed(catalog, text="live_set") == [first]
    assert await listed(catalog, text="\\") == []


async def test_pages_keep_to_what_is_wanted(catalog: Catalog) -> None:
    made = [await make(catalog, user_id="alice" if n % 2 else "bob") for n in range(6)]
    wanted = Wanted(user_id="alice")
    (newest,) = await catalog.list(limit=1, wanted=wanted)
    others = await catalog.list(before=(newest.created_at, newest.id), wanted=wanted)
    assert [newest.id, *(r.id for r in others)] == [made[5], made[3], made[1]]


async def test_a_deleted_recording_is_seen_by_nobody(catalog: Catalog) -> None:
    recording_id = await make(catalog, stream_key="k")
    with pytest.raises(Conflict, match="cancel it first"):
        await catalog.delete(recording_id)
    await catalog.add_uploads(recording_id, [upload("source", "k.mp4", "u")])
    await finish(catalog, recording_id, "sha256:1")
    stream_id = (await catalog.get(recording_id)).stream_id
    await catalog.delete(recording_id)
    for call in (catalog.get, catalog.report, catalog.delete, catalog.retry):
        with pytest.raises(RecordingNotFound):
            await call(recording_id)
    assert (await catalog.look_up(recording_id)).deleted_at is not None
    with pytest.raises(RecordingNotFound):
        await catalog.look_up(uuid4())
    assert await listed(catalog) == []
    assert await catalog.settleable() == ()
    assert [r.id for r in await catalog.to_remove()] == [recording_id]
    await catalog.mark_removed(recording_id)
    assert await catalog.to_remove() == ()
    assert await catalog.uploads(recording_id) == ()
    # Late word of its end makes no other one.
    late = await catalog.accept(ended(100, stream_id=stream_id, stream_key="k"))
    assert late.recording_id in (None, recording_id)
    # A stream that is back is another broadcast.
    later = await catalog.accept(started(1000, stream_id=stream_id, stream_key="k"))
    if later.recording_id is None:
        later = await catalog.decide(later.task_id, "sha256:2")
    assert later.recording_id not in (None, recording_id)


async def test_a_cancelled_recording_has_failed(catalog: Catalog) -> None:
    recording_id = await make(catalog)
    await catalog.open_source(recording_id, Opened(ref="live/k/stream.m3u8"))
    cancelled = await catalog.cancel(recording_id, "Cancelled by alice")
    assert (cancelled.status, cancelled.error) == (Status.FAILED, "Cancelled by alice")
    assert (await catalog.cancel(recording_id, "again")).error == "Cancelled by alice"
    assert await catalog.to_capture() == await catalog.to_supervise() == ()
    assert [r.id for r in await catalog.settleable()] == [recording_id]
    done = await make(catalog)
    await finish(catalog, done)
    with pytest.raises(Conflict, match="completed"):
        await catalog.cancel(done, "too late")


async def test_what_is_being_published_is_not_cancelled(catalog: Catalog) -> None:
    recording_id = await make(catalog)
    await catalog.mark_ended(recording_id, at(100), EndReason.ENDLIST)
    await catalog.mark_processing(recording_id)
    await catalog.mark_publishing(recording_id)
    with pytest.raises(Conflict, match="being published"):
        await catalog.cancel(recording_id, "too late")


async def test_a_failed_recording_begins_anew(catalog: Catalog) -> None:
    recording_id = await make(catalog)
    assert (await catalog.retry(recording_id)).status is Status.RECORDING
    await catalog.open_source(recording_id, Opened(ref="live/k/stream.m3u8"))
    await catalog.report_progress(recording_id, 7, Progress(segments=3))
    await catalog.fail(recording_id, "no")
    with pytest.raises(Conflict, match="in a moment"):
        await catalog.retry(recording_id)
    await catalog.forget_ledger(recording_id)
    again = await catalog.retry(recording_id)
    assert (again.status, again.error, again.duration) == (Status.RECORDING, None, 0)
    assert again.progress == Progress()
    assert [r.id for r in await catalog.to_capture()] == [recording_id]
    await finish(catalog, recording_id)
    with pytest.raises(Conflict, match="completed"):
        await catalog.retry(recording_id)


async def test_what_is_to_be_captured_is_told_of_all_or_of_some(catalog: Catalog) -> None:
    one, other = await make(catalog), await make(catalog)
    finished = await make(catalog)
    await finish(catalog, finished)

    async def due(among: list[UUID] | None) -> set[UUID]:
        return {recording.id for recording in await catalog.to_capture(among)}

    assert await due(None) == {one, other}
    assert await due([other, finished, uuid4()]) == {other}
    assert await due([]) == set()


async def test_who_has_no_source_yet_needs_no_supervisor(catalog: Catalog) -> None:
    waits, opened, never = [await make(catalog) for _ in range(3)]
    await catalog.open_source(opened, Opened(ref="live/k/stream.m3u8"))
    await catalog.close_source(never, None, "nothing there")
    assert [r.id for r in await catalog.unfinished()] == [waits, opened, never]
    assert [r.id for r in await catalog.to_supervise()] == [opened, never]


async def test_a_video_is_linked_and_unlinked(catalog: Catalog) -> None:
    recording_id, video_id = await make(catalog), uuid4()
    await finish(catalog, recording_id)
    assert (await catalog.link_video(recording_id, video_id)).video_id == video_id
    assert (await catalog.link_video(recording_id, None)).video_id is None
