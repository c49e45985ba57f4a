"""What chunks and recordings add to the metrics, and into which kind each reason falls."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from pipeline.errors import SourceError, StoreUnavailable
from pipeline.gap_kinds import GAP_KINDS, gap_kind
from pipeline.gaps import CLOCK_JUMPS
from pipeline.metrics import COUNTS
from pipeline.model import ChunkRecord, ChunkSpec, Gap, Segment, Status, Stretch
from pipeline.recording_counts import count_captured, count_chunk, count_final, remedy_kind
from pipeline.transfer import _refuse_status
from tests.unit.api_server import Product


@pytest.fixture(autouse=True)
def nothing_counted() -> Iterator[None]:
    COUNTS.take()
    yield
    COUNTS.take()


def counted() -> dict[str, Any]:
    """By name and labels: a counter's value, or how many a histogram has."""
    return {
        ":".join((name.removeprefix("vodray_"), *labels)): (
            values[0] if len(values) == 1 else sum(values[1:])
        )
        for (name, labels), values in COUNTS.take().items()
    }


def segments(count: int) -> tuple[Segment, ...]:
    return tuple(Segment(sequence=n, uri=f"{n}.ts", duration_s=2.0) for n in range(count))


def record(**report: Any) -> ChunkRecord:
    told = {
        "segments": [0, 1, 2],
        "bytes_in": 1000,
        "lost": [],
        "remedies": [],
        "timings_s": {"download": 0.5, "mux": 0.25},
        **report,
    }
    return ChunkRecord(
        index_number=0, size_bytes=900, part=None, staging_key="k", index=b"", report=told
    )


CHUNK = ChunkSpec(index=0, anchor_s=0, main=Stretch(segments=segments(3), start_s=0.0))


def test_a_whole_chunk() -> None:
    count_chunk(CHUNK, [record()])
    assert counted() == {
        "chunks:whole": 1,
        "segments:recorded": 3,
        "bytes:in": 1000,
        "bytes:out": 900,
        "media_seconds": 6,
        "stage_seconds:download": 0.5,
        "stage_seconds:mux": 0.25,
    }


def test_a_chunk_that_lacks_something() -> None:
    lost = [
        {"playlist": 0, "sequence": 1, "is_whole": True},
        {"playlist": 0, "sequence": 2, "is_whole": False},
        {"playlist": 1, "sequence": 1, "is_whole": True},
    ]
    remedies = [{"remedy": name} for name in ("mended", "mended", "h264, encoded anew", "magic")]
    count_chunk(CHUNK, [record(lost=lost, remedies=remedies)])
    found = counted()
    assert found["chunks:gaps"] == 1
    assert (found["segments:recorded"], found["segments:lost"]) == (2, 1)
    said = {name: value for name, value in found.items() if name.startswith("chunk_remedies")}
    assert said == {
        "chunk_remedies:mended": 1,
        "chunk_remedies:encoded": 1,
        "chunk_remedies:other": 1,
    }


def test_encoding_has_a_speed() -> None:
    spent = {"download": 9.0, "decode": 1.0, "scale": 0.5, "encode": 1.5}
    count_chunk(CHUNK, [record(timings_s=spent)])
    total, *within = COUNTS.take()["vodray_encode_speed", ()]
    # Six seconds of media in three.
    assert (total, sum(within)) == (pytest.approx(2.0), 1)


def test_captured_segments() -> None:
    count_captured(Segment(sequence=0, uri="a", duration_s=2))
    count_captured(Segment(sequence=1, uri="", duration_s=2, is_gap=True))
    assert counted() == {"captured_segments:kept": 1, "captured_segments:gap": 1}


async def test_a_recording_that_is_completed() -> None:
    product = Product()
    begun = await product.record("a")
    gaps = [
        Gap(start_s=1, duration_s=2, reason=CLOCK_JUMPS),
        Gap(start_s=9, duration_s=4, reason="http://x/9.ts is not there (404)"),
    ]
    done = await product.complete(begun, *gaps)
    count_final(done)
    found = counted()
    assert found == {
        "recordings_finished:completed": 1,
        "gaps:clock": 1,
        "gaps:missing": 1,
        "gap_seconds:clock": 2,
        "gap_seconds:missing": 4,
        "time_to_vod_seconds": 1,
    }


async def test_time_to_vod_begins_when_we_hear_of_an_end_that_is_long_past() -> None:
    product = Product()
    done = await product.complete(await product.record("a"))
    assert done.completed_at is not None
    for moved, expected_s in ((timedelta(seconds=7), 7.0), (timedelta(seconds=-3), 0.0)):
        count_final(replace(done, completed_at=done.created_at + moved))
        ((total, *_),) = (
            values for (name, _), values in COUNTS.take().items() if "time_to_vod" in name
        )
        assert total == pytest.approx(expected_s)


async def test_a_recording_that_fails() -> None:
    product = Product()
    begun = await product.record("a")
    failed = await product.catalog.fail(begun.id, "nothing in it")
    assert failed.status is Status.FAILED
    count_final(failed)
    assert counted() == {"recordings_finished:failed": 1}


@pytest.mark.parametrize(
    ("remedy", "kind"),
    [
        ("program tables from nearby", "tables"),
        ("headers from the run's first segment", "headers"),
        ("mended", "mended"),
        ("encoded anew", "encoded"),
        ("mp2, encoded anew", "encoded"),
        ("something new", "other"),
    ],
)
def test_remedies(remedy: str, kind: str) -> None:
    assert remedy_kind(remedy) == kind


def refusal(status: int) -> str:
    with pytest.raises(SourceError) as caught:
        _refuse_status("http://cdn/live/seg_00007.ts?token=1", status)
    return caught.value.message


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("it is marked as missing (EXT-X-GAP)", "marked"),
        ("it left the live window before it could be read", "window"),
        (CLOCK_JUMPS, "clock"),
        ("3 workers died of it: worker 1 was lost: RayActorError", "worker"),
        (StoreUnavailable("http://s3/b/k cannot be written: Connection refused").message, "store"),
        ("its key cannot be had: http://cdn/key is not there (404)", "key"),
        ("decrypted, it is neither MPEG-TS nor MP4 (is its key the right one?)", "key"),
        ("http://cdn/1.ts is larger than the limit of 1024 bytes", "limit"),
        ("its pictures are 9 x 9, more than the 8 pixels of MAX_PICTURE_PIXELS", "limit"),
        (refusal(404), "missing"),
        (f"sound 1: {refusal(410)}", "missing"),
        (f"its init (EXT-X-MAP) cannot be had: {refusal(404)}", "missing"),
        (refusal(503), "unavailable"),
        ("http://cdn/1.ts did not come in time", "unavailable"),
        ("http://cdn/1.ts broke off before its end", "unavailable"),
        ("http://cdn/1.ts cannot be read: Connection refused", "unavailable"),
        (refusal(302), "forbidden"),
        (refusal(403), "forbidden"),
        ("The host evil.example may not be read", "forbidden"),
        ("dvb_teletext cannot be decoded", "codec"),
        ("it is neither MPEG-TS nor MP4 nor packed audio", "damaged"),
        ("0.48 s of it are missing or damaged", "damaged"),
        ("FFmpeg cannot read it: Invalid data found when processing input", "damaged"),
    ],
)
def test_reasons_of_gaps(reason: str, kind: str) -> None:
    assert gap_kind(reason) == kind
    assert kind in GAP_KINDS
