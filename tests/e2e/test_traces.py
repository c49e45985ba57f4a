"""What a collector of OpenTelemetry traces gets of one recording, from all processes."""

import time

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.e2e.conftest import NewBroadcast
from tests.e2e.world import DONE_S, World, eventually
from tests.otlp import Collector

ALL = {"task", "capture", "chunk", "publish", "recording"}


def trace(collector: Collector, recording_id: str) -> list[Span]:
    def missing() -> set[str]:
        return ALL - {span.name for span in collector.of(recording_id)}

    give_up = time.monotonic() + DONE_S
    while missing():
        assert time.monotonic() < give_up, f"no span of {missing()} within {DONE_S} s"
        time.sleep(0.1)
    return collector.of(recording_id)


def test_a_recording_is_one_trace(
    broadcast: NewBroadcast, world: World, collector: Collector
) -> None:
    live = broadcast()
    live.show_whole()
    live.tell("started")
    live.tell("ended")
    done = live.completed()
    spans = trace(collector, done["id"])
    (root,) = (span for span in spans if span.name == "recording")
    assert root.parent_span_id == b""
    assert root.status.code == Status.STATUS_CODE_OK
    for span in spans:
        assert span.start_time_unix_nano <= span.end_time_unix_nano <= root.end_time_unix_nano + 1e9
        if span is not root:
            assert span.parent_span_id == root.span_id, span.name
    chunks = [span for span in spans if span.name == "chunk"]
    assert len(chunks) == len(world.report(done)["chunks"])
    told = {a.key: a.value for a in chunks[0].attributes}
    assert told["vodray.worker"].string_value
    assert told["vodray.bytes"].int_value > 0
    assert {"vodray.download", "vodray.upload"} <= set(told)


def test_a_failure_is_told(broadcast: NewBroadcast, collector: Collector) -> None:
    live = broadcast()
    live.write_playlist("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\ngone.ts\n#EXT-X-ENDLIST\n")
    live.tell("ended")
    why = live.failed()
    failed_id = live.recording()["id"]
    (root,) = eventually(
        lambda: [span for span in collector.of(failed_id) if span.name == "recording"]
    )
    assert root.status.code == Status.STATUS_CODE_ERROR
    assert root.status.message == why
