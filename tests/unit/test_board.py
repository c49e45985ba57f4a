"""What the pool tells of its workers to those who watch."""

import asyncio
from dataclasses import replace

import pytest

from actors.assigner import Assigner
from actors.board import Board
from actors.fair_queue import Urgency
from pipeline.activity import Activity, Throughput, WorkerActivity
from pipeline.errors import MediaInvalid, WorkerLost
from pipeline.jobs import ChunkJob
from pipeline.media.limits import DEFAULT_LIMITS
from pipeline.model import ChunkRecord, ChunkSpec, Segment, Stretch
from tests.unit.test_assigner import LIMITS, Workers, job, settle

WORKER = WorkerActivity(number=0, name="vodray:worker:0", node="a")


def chunk_job(index: int) -> ChunkJob:
    segments = (Segment(sequence=0, uri="0.ts", duration_s=4.0),)
    return ChunkJob(
        chunk=ChunkSpec(index=index, anchor_s=0, main=Stretch(segments=segments, start_s=0.0)),
        urls={},
        places=(),
        strip_url="",
        source_limits=LIMITS,
        store_limits=LIMITS,
        media_limits=DEFAULT_LIMITS,
    )


def record(size_bytes: int) -> ChunkRecord:
    return ChunkRecord(
        index_number=0, size_bytes=size_bytes, part=None, staging_key=None, index=b"", report={}
    )


def told(board: Board, recording: str | None = None) -> Activity:
    return board.tell([WORKER], recording)


def test_from_the_queue_to_the_ledger() -> None:
    now = 100.0
    board = Board(clock=lambda: now)
    entry = board.queue(chunk_job(3), "r")
    now += 2
    (waiting,) = told(board, "r").jobs
    assert (waiting.kind, waiting.chunk, waiting.worker, waiting.since_s) == ("chunk", 3, None, 2)
    assert (told(board).jobs, told(board).waiting) == ((), 1)
    assert told(board, "another").jobs == ()

    board.begin(entry, 0)
    now += 1
    (working,) = told(board).jobs
    assert (working.worker, working.since_s, told(board).waiting) == (0, 1, 0)

    board.end(entry, (record(70), record(30)))
    after = told(board, "r")
    assert after.jobs == ()
    assert [(each.chunk, each.worker, each.tries) for each in after.tried] == [(3, 0, 1)]
    assert after.workers == (replace(WORKER, chunks=1, media_s=4.0, size_bytes=100),)
    assert after.recent == Throughput(window_s=60.0, chunks=1, media_s=4.0, size_bytes=100)
    now += 61
    assert told(board).recent == Throughput(window_s=60.0)
    assert told(board).workers[0].chunks == 1


def test_tries_are_counted_over_deaths_and_failures() -> None:
    board = Board()
    entry = board.queue(chunk_job(0), "r")
    board.begin(entry, 0)
    board.again(entry)
    assert [(each.worker, each.tries) for each in told(board, "r").jobs] == [(None, 2)]
    board.end(entry, None)
    assert board.queue(chunk_job(0), "r").tries == 3
    assert board.queue(chunk_job(0), "another").tries == 1


def test_it_forgets_what_was_tried_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.board._REMEMBERED", 2)
    board = Board()
    for index in range(4):
        board.end(board.queue(chunk_job(index), "r"), None)
    assert [each.chunk for each in told(board, "r").tried] == [2, 3]


async def test_the_assigner_tells_it_everything() -> None:
    workers = Workers()
    assigner = Assigner(workers)
    assigner.add([0])
    answers = [asyncio.create_task(assigner.submit(job(n), "a", Urgency.LIVE)) for n in range(3)]
    await settle()
    assert [each.worker for each in told(assigner.board, "a").jobs] == [0, 0, None]
    assert {each.kind for each in told(assigner.board, "a").jobs} == {"join"}
    await workers.let(0, WorkerLost("killed"))
    assert sorted(each.tries for each in told(assigner.board, "a").jobs) == [1, 1, 2]
    await workers.let(1, MediaInvalid("no media"))
    for _ in range(2):
        await workers.let(next(iter(workers.waiting)))
    await asyncio.gather(*answers, return_exceptions=True)
    assert told(assigner.board, "a").jobs == ()
    assert told(assigner.board).waiting == 0


def test_other_jobs_than_chunks_are_not_remembered() -> None:
    board = Board()
    for one in (job(1), chunk_job(1)):
        board.end(board.queue(one, "r"), None)
    assert [each.chunk for each in told(board, "r").tried] == [1]
