"""A real Prometheus reads a service that records a live stream and one that has ended: what the
dashboard shows, whether rules and alerts hold."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.conftest import SIX_S
from tests.e2e.world import Broadcast, Json, World, ask_ray, eventually
from tests.media_fixtures import Clips
from tests.prometheus import DEPLOY, Server

Counted = dict[str, float]
BOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "vodray.json").read_text("utf-8"))
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
# What a process has counted is handed on every 5 s, and what was told is kept as long.
TOLD_S = 30.0
TARGETS_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """``before``, ``after``: what ``/metrics`` says around the recordings; ``since``: seconds since
    1970."""

    prometheus: Server
    since: float
    live: Json
    ended: Json
    before: Counted
    after: Counted

    def rise(self, series: str) -> float:
        return self.after[series] - self.before[series]


def read(world: World) -> Counted:
    """By name and values of labels."""
    answer = world.http.get("/metrics")
    assert answer.status_code == 200, answer.text
    return {
        ":".join(
            (sample.name, *(value for _, value in sorted(sample.labels.items())))
        ): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def ray_targets(world: World) -> list[Json]:
    """As the file says it that our configuration names: other Rays here write it, too."""
    return eventually(lambda: ask_ray(world, "/api/prometheus/sd"), within_s=TARGETS_S)


@pytest.fixture(scope="module")
def watched(
    world: World, clips: Clips, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    address = world.endpoints["http"].removeprefix("http://")
    since = time.time()
    folder = tmp_path_factory.mktemp("prometheus")
    with Server(folder, address, ray_targets(world)) as prometheus:
        # It rises from what was there before.
        eventually(lambda: prometheus.value('count(up{job="vodray"})'), within_s=TARGETS_S)
        before = read(world)
        live, ended = _record(world, clips, prometheus)

        def told() -> Counted | None:
            now = read(world)
            names = [f"vodray_recordings_finished_total:{how}" for how in ("completed", "failed")]
            return now if sum(now[name] - before[name] for name in names) == 3 else None

        after = eventually(told, within_s=TOLD_S)
        assert after is not None
        # Of what was counted last, a rate is known one sample later.
        rate = "vodray:encode_speed:mean5m"
        eventually(lambda: prometheus.values(rate, since), within_s=TOLD_S)
        yield Watched(
            prometheus=prometheus,
            since=since,
            live=live,
            ended=ended,
            before=before,
            after=after,
        )


def _record(world: World, clips: Clips, prometheus: Server) -> tuple[Json, Json]:
    """A live stream, one that has ended and is encoded, one that is not there."""
    live = Broadcast(world=world, playlist=clips(SIX_S))
    ended = Broadcast(world=world, playlist=clips(SIX_S))
    missing = Broadcast(world=world, playlist=clips(SIX_S))
    live.show(1)
    live.tell("started")
    missing.tell("ended")
    ended.show_whole()
    ended.tell("ended", profile="h264")
    eventually(lambda: prometheus.value('vodray_live_lag_seconds{quantile="1"}') is not None)
    live.show_whole()
    live.tell("ended")
    missing.failed()
    return live.completed(), ended.completed()


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_panel_has_data(watched: Watched, panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        query = target["expr"].replace("$__rate_interval", "30s")
        assert "$" not in query
        assert watched.prometheus.values(query, watched.since), query


def test_all_rules_can_be_evaluated(watched: Watched) -> None:
    groups = watched.prometheus.get("/rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["type"] for rule in rules} == {"recording", "alerting"}
    assert {rule["health"] for rule in rules} == {"ok"}, rules
    for rule in rules:
        if rule["type"] == "recording":
            assert watched.prometheus.values(rule["name"], watched.since), rule["name"]


def test_both_jobs_are_read(watched: Watched) -> None:
    for job in ("vodray", "ray"):
        assert watched.prometheus.value(f'max(up{{job="{job}"}})') == 1


def test_what_was_recorded_is_counted_once(watched: Watched) -> None:
    segments = sum(one["progress"]["segments"] for one in (watched.live, watched.ended))
    assert watched.rise("vodray_recordings_finished_total:completed") == 2
    assert watched.rise("vodray_recordings_finished_total:failed") == 1
    assert watched.rise("vodray_time_to_vod_seconds_count") == 2
    assert watched.rise("vodray_segments_total:recorded") == segments
    assert watched.rise("vodray_segments_total:lost") == 0
    assert watched.rise("vodray_media_seconds_total") == pytest.approx(12, abs=0.5)
    assert watched.rise("vodray_recordings:completed") == 2
    assert watched.rise("vodray_result_bytes") == sum(
        one["file_size"] for one in (watched.live, watched.ended)
    )
    assert watched.rise("vodray_encode_speed_count") >= 1
    assert watched.rise("vodray_tasks_total:webhook") == 4
    assert watched.rise("vodray_worker_deaths_total") == 0


def test_workers_tell_what_their_requests_took(watched: Watched) -> None:
    """Nobody else stores chunks and reads segments by URL."""
    assert watched.rise("vodray_request_seconds_count:put:s3") > 0
    assert watched.rise("vodray_request_seconds_count:get:s3") > 0


def test_a_recording_that_fails_is_alerted_on_and_nothing_else(watched: Watched) -> None:
    firing = eventually(watched.prometheus.firing)
    assert "VodrayRecordingsFail" in firing
    assert not firing & {
        *("VodrayDown", "VodrayPartDown", "VodrayNoWorkers", "VodrayFallingBehind"),
        *("VodrayRecordingStuck", "VodrayRequestsFail", "VodrayTasksWait"),
    }


def test_no_label_names_a_stream_or_a_recording(world: World, watched: Watched) -> None:
    text = world.http.get("/metrics").text
    for recording in (watched.live, watched.ended):
        assert recording["id"] not in text
        assert recording["stream_id"] not in text
    assert len(text.splitlines()) < 700
