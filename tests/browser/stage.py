"""A service without media behind the real page: recordings in each state, and workers that do what
is asked of them. For what needs no recording to be made: looks, keys, widths, names."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from playwright.async_api import Page, Route

from pipeline.activity import Activity, InFlight, Throughput, Tried, WorkerActivity
from pipeline.model import (
    ChunkRecord,
    ChunkSpec,
    EndReason,
    EventKind,
    Gap,
    Origin,
    Progress,
    Recording,
    Rendition,
    Segment,
    StreamEvent,
    Stretch,
)
from pipeline.stores.catalog import Completion
from tests.media import ffmpeg
from tests.unit.api_server import Product, served

# Sources of FFmpeg that look like something.
_SCENES = tuple(
    f"gradients=s=640x360:c0=#{dark}:c1=#{middle}:c2=#{light}:n=3:seed={seed}:type={kind}"
    for seed, kind, dark, middle, light in (
        (3, "radial", "12355b", "e07a5f", "f4d58d"),
        (8, "linear", "0b132b", "3a506b", "5bc0be"),
        (9, "spiral", "2d1e2f", "a8577e", "f7d6c4"),
        (21, "radial", "10002b", "5a189a", "e0aaff"),
        (33, "linear", "1b4332", "52b788", "d8f3dc"),
    )
)
_TALKS = (
    "Opening keynote", "Segmented media in practice", "A tour of the ledger", "Panel: archives",
    "Closing session", "Workshop, room 2", "City council, November", "Choir rehearsal",
    "Lecture 12: time bases", "Regional final",
)  # fmt: skip


@dataclass
class Stage:
    """``url``: of the page. ``live``: a recording that goes on; ``done``: one with gaps;
    ``failed``: one that is not to be had."""

    url: str
    product: Product
    live: Recording
    done: Recording
    failed: Recording
    jobs: list[InFlight] = field(default_factory=list)


@asynccontextmanager
async def stage(*, chunks: int = 96, done: int = 61, **settings: Any) -> AsyncIterator[Stage]:
    """``chunks`` of the live recording are planned, about ``done`` are."""
    at_work: list[InFlight] = []

    async def activity(recording_id: UUID | None) -> Activity:
        return _activity(at_work, recording_id)

    product = Product(activity=activity, settings=settings)
    now = datetime.now(UTC)
    finished = [
        await _completed(product, title, now - timedelta(hours=20 * n + 5))
        for n, title in enumerate(reversed(_TALKS))
    ]
    failed = await begin(product, "studio-b", now - timedelta(hours=3), "Studio B, take 1")
    failed = await product.catalog.fail(failed.id, "studio-b/stream.m3u8 is not there")
    live = await begin(product, "main-stage", now - timedelta(minutes=74), "Main stage, day 2")
    await _fill(product, live, chunks, done, at_work)
    async with served(product) as (_, url):
        yield Stage(
            url=url, product=product, live=await product.catalog.get(live.id),
            done=finished[-1], failed=failed, jobs=at_work,
        )  # fmt: skip


async def begin(product: Product, stream: str, at: datetime, title: str) -> Recording:
    accepted = await product.catalog.accept(
        StreamEvent(
            kind=EventKind.STARTED,
            stream_id=stream,
            stream_key=stream,
            user_id="u1",
            occurred_at=at,
            origin=Origin.WEBHOOK,
        )
    )
    assert accepted.recording_id is not None
    # Nothing sets titles yet.
    kept = product.catalog._recordings
    kept[accepted.recording_id] = replace(
        kept[accepted.recording_id], title=title, created_at=at, started_at=at
    )
    return kept[accepted.recording_id]


async def _completed(product: Product, title: str, at: datetime) -> Recording:
    stream = title.lower().replace(" ", "-").replace(",", "").replace(":", "")
    recording = await begin(product, stream, at, title)
    length_s = 1200 + 137 * (len(title) % 23)
    await product.catalog.mark_ended(
        recording.id, at + timedelta(seconds=length_s), EndReason.ENDLIST
    )
    await product.catalog.mark_processing(recording.id)
    gaps = (
        Gap(start_s=0.27 * length_s, duration_s=6.0, reason="seg_00182.ts is not there",
            segments=(182,), wall_clock=at + timedelta(seconds=0.27 * length_s)),
        Gap(start_s=0.71 * length_s, duration_s=2.4, reason="the source's clock jumps ahead"),
    )  # fmt: skip
    completion = Completion(
        file_path=f"recordings/{stream}.mp4",
        duration=length_s,
        file_size=length_s * 612_000,
        completed_at=at + timedelta(seconds=length_s + 1),
        thumbnail_path=f"recordings/{stream}/poster.jpg",
        gaps=gaps if title == _TALKS[0] else (),
        renditions=(
            _rendition(stream, "source", 1080, 4_900_000),
            _rendition(stream, "720p", 720, 2_600_000),
            _rendition(stream, "480p", 480, 1_200_000),
        ),
    )
    return await product.catalog.complete(recording.id, completion, _report(length_s))


def _rendition(stream: str, name: str, height: int, rate: int) -> Rendition:
    return Rendition(
        name=name,
        file_path=f"recordings/{stream}/{name}.mp4",
        codecs="avc1.640028,mp4a.40.2" if name == "source" else "avc1.64001f",
        bandwidth=rate * 5 // 4,
        average_bandwidth=rate,
        width=height * 16 // 9 // 2 * 2,
        height=height,
        frame_rate=25.0,
    )


def _report(length_s: int) -> dict[str, Any]:
    missing = {"duration_s": 6.0, "reason": "seg_00182.ts is not there"}
    count = length_s // 20
    return {
        "verified": True,
        "frames_in": length_s * 72,
        "frames_out": length_s * 72,
        "segments": length_s // 4,
        "segments_lost": 1,
        "checks": {"borders_decoded": count, "borders_failed": 0},
        "remedies": [{"remedy": "program tables from nearby"}],
        "timings_s": {
            "total": 31.6,
            "in_workers": {"download": 14.1, "demux": 6.9, "mux": 9.2, "upload": 11.7},
        },
        "chunks": [
            {
                "chunk": n, "start_s": 20.0 * n, "media_s": 20.0,
                "bytes_out": 12_400_000 + 9001 * n,
                "lost": [missing] if n == int(count * 0.27) else [],
                "remedies": [{"remedy": "mended"}] if n % 31 == 7 else [],
                "timings_s": {"download": 0.2, "demux": 0.1, "mux": 0.13, "upload": 0.18},
            }
            for n in range(count)
        ],
    }  # fmt: skip


def planned_chunk(index: int) -> ChunkSpec:
    """Twenty seconds."""
    segments = tuple(
        Segment(sequence=5 * index + n, uri=f"{n}.ts", duration_s=4.0) for n in range(5)
    )
    return ChunkSpec(index=index, anchor_s=0, main=Stretch(segments=segments, start_s=20.0 * index))


async def _fill(
    product: Product, live: Recording, planned: int, done: int, at_work: list[InFlight]
) -> None:
    for index in range(planned):
        await product.catalog.plan_chunk(live.id, planned_chunk(index))
    working = [done - 3, done, done + 1, done + 2]
    finished = [n for n in range(done) if n not in working]
    await product.catalog.finish_chunks(live.id, [_record(n) for n in finished])
    job = InFlight(recording=str(live.id), kind="chunk")
    at_work += [
        replace(job, chunk=n, worker=i % 4, since_s=1.4 + n % 3, tries=2 if i == 0 else 1)
        for i, n in enumerate(working)
    ]
    at_work += [
        replace(job, chunk=n, since_s=0.8) for n in range(done + 3, min(done + 11, planned))
    ]
    progress = Progress(
        segments=5 * planned + 3, chunks_done=len(finished), chunks_total=planned,
        seconds=20.0 * len(finished),
    )  # fmt: skip
    await product.catalog.report_progress(live.id, 20 * planned, progress)


def _record(index: int) -> ChunkRecord:
    missing = {"duration_s": 20.0 if index == 23 else 4.0, "reason": "a segment is not there"}
    is_lost = index == 23
    report = {
        "lost": [missing] if index in (23, 40) else [],
        "remedies": [{"remedy": "mended"}] if index == 31 else [],
        "timings_s": {"download": 0.31, "demux": 0.12, "mux": 0.2, "upload": 0.24},
    }
    return ChunkRecord(
        index_number=index,
        size_bytes=0 if is_lost else 12_400_000 + 7919 * index,
        part=None,
        staging_key=None,
        index=b"",
        report=report,
    )


def _activity(jobs: list[InFlight], recording_id: UUID | None) -> Activity:
    workers = tuple(
        WorkerActivity(
            number=n, name=f"vodray:worker:{n}", node=f"node-{n // 2 + 1}", chunks=37 - 3 * n,
            media_s=740.0 - 60 * n, size_bytes=460_000_000 - 37_000_000 * n,
        )
        for n in range(4)
    )  # fmt: skip
    return Activity(
        workers=workers,
        jobs=tuple(job for job in jobs if recording_id is not None or job.worker is not None),
        tried=(Tried(chunk=17, worker=2, tries=2), Tried(chunk=31, worker=1, tries=1)),
        waiting=sum(job.worker is None for job in jobs),
        recent=Throughput(chunks=44, media_s=880.0, size_bytes=546_000_000),
    )


class Pictures:
    """Images where routes of media would have them: posters, and a storyboard."""

    def __init__(self, folder: Path) -> None:
        self._posters = [folder / f"poster-{n}.jpg" for n in range(len(_SCENES))]
        for scene, path in zip(_SCENES, self._posters, strict=True):
            ffmpeg("-f", "lavfi", "-i", scene, "-ss", "2", "-frames:v", "1", "-q:v", "4", path)
        self._sheet = folder / "sheet.jpg"
        ffmpeg(
            *("-f", "lavfi", "-i", f"{_SCENES[0]}:speed=0.05", "-vf", "scale=160:90,tile=10x10"),
            *("-frames:v", "1", "-q:v", "6", self._sheet),
        )

    async def show(self, page: Page) -> None:
        await page.route("**/recordings/*/thumbnail", self._poster)
        await page.route("**/recordings/*/storyboard*", self._storyboard)

    async def _poster(self, route: Route) -> None:
        recording_id = route.request.url.split("/")[-2]
        await route.fulfill(path=self._posters[UUID(recording_id).int % len(self._posters)])

    async def _storyboard(self, route: Route) -> None:
        if route.request.url.endswith(".jpg"):
            await route.fulfill(path=self._sheet)
            return
        cues = (
            f"{_clock(20 * n)} --> {_clock(20 * n + 20)}\nstoryboard-001.jpg"
            f"#xywh={160 * (n % 10)},{90 * (n // 10)},160,90\n"
            for n in range(100)
        )
        await route.fulfill(body="WEBVTT\n\n" + "\n".join(cues), content_type="text/vtt")


def _clock(seconds: int) -> str:
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.000"


async def answer_json(page: Page, pattern: str, body: Any, status: int = 200) -> None:
    """For routes that are not there yet."""

    async def answer(route: Route) -> None:
        await route.fulfill(status=status, body=json.dumps(body), content_type="application/json")

    await page.route(pattern, answer)
