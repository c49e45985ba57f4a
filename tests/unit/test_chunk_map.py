"""The chunk map: what the ledger, the report and the workers say of each chunk, as one."""

from pipeline.activity import Activity, InFlight, Tried, WorkerActivity
from pipeline.chunk_map import (
    ChunkOutcome,
    ChunkOutline,
    ChunkState,
    ChunkView,
    finish,
    from_outline,
    from_report,
    with_activity,
)

LOST = {"duration_s": 2.0, "reason": "7.ts is not there"}
WORKERS = (
    WorkerActivity(number=0, name="vodray:worker:0", node="a"),
    WorkerActivity(number=1, name="vodray:worker:1"),
)


def planned(index: int) -> ChunkView:
    return from_outline(ChunkOutline(index=index, start_s=index * 8.0, media_s=8.0))


def outcome(index: int = 0, size_bytes: int = 100, **report: object) -> ChunkOutcome:
    return ChunkOutcome(index=index, size_bytes=size_bytes, report=report)


def test_a_finished_chunk_tells_what_the_ledger_says() -> None:
    mended = {"remedy": "mended", "segments": [1]}
    done = finish(
        planned(0), outcome(lost=[LOST, LOST], remedies=[mended, mended], timings_s={"mux": 0.5})
    )
    assert (done.state, done.start_s, done.media_s) == (ChunkState.DONE, 0.0, 8.0)
    assert (done.lost_s, done.reasons, done.remedies) == (4.0, ("7.ts is not there",), ("mended",))
    assert (done.size_bytes, done.timings_s) == (100, {"mux": 0.5})


def test_a_chunk_of_which_nothing_is_left_is_lost() -> None:
    assert finish(planned(0), outcome(size_bytes=0, lost=[LOST])).state is ChunkState.LOST
    assert finish(planned(0), outcome(size_bytes=0)).state is ChunkState.DONE


def test_what_is_on_its_way_is_known_by_the_workers() -> None:
    activity = Activity(
        workers=WORKERS,
        jobs=(
            InFlight(recording="r", kind="look", worker=0),
            InFlight(recording="r", kind="chunk", chunk=1, worker=0, tries=2, since_s=1.26),
            InFlight(recording="r", kind="chunk", chunk=2, since_s=3.0),
            # It was answered, but the ledger has it already.
            InFlight(recording="r", kind="chunk", chunk=0, worker=1),
        ),
        tried=(Tried(chunk=0, worker=1, tries=3),),
    )
    first = finish(planned(0), outcome())
    chunks = with_activity([first, planned(1), planned(2), planned(3)], activity)
    assert [chunk.state for chunk in chunks] == ["done", "working", "waiting", "planned"]
    assert [chunk.tries for chunk in chunks] == [3, 2, 1, 1]
    assert [chunk.worker for chunk in chunks] == [
        *("vodray:worker:1", "vodray:worker:0"),
        *(None, None),
    ]
    assert [chunk.node for chunk in chunks] == [None, "a", None, None]
    assert [chunk.since_s for chunk in chunks] == [None, 1.3, 3.0, None]


def test_without_the_workers_the_ledger_is_enough() -> None:
    chunks = (finish(planned(0), outcome()), planned(1))
    assert with_activity(chunks, Activity()) == chunks


def test_a_report_gives_the_same_map() -> None:
    told = {"lost": [LOST], "remedies": [{"remedy": "mended"}], "timings_s": {"mux": 0.5}}
    whole = {"chunk": 0, "start_s": 0.0, "media_s": 8.0, "bytes_out": 100}
    assert from_report({"chunks": [whole | told]}) == (finish(planned(0), outcome(**told)),)


def test_reports_of_earlier_versions() -> None:
    (chunk,) = from_report({"chunks": [{"chunk": 4, "lost": [], "remedies": []}]})
    assert (chunk.index, chunk.state, chunk.start_s) == (4, ChunkState.DONE, None)
    assert from_report({}) == ()
