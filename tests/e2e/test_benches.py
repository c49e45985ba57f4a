"""Benches that need the whole service, as small as they can be: that they measure, not what."""

import io
import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from bench import intake, long
from bench.plot import draw
from bench.report import print_outcome
from bench.result import Options
from bench.tabled import Tabled

# CI runs a real bench, too: the gate.
pytestmark = [pytest.mark.timeout(300), pytest.mark.soak]


def shown(outcome: Tabled) -> str:
    text = io.StringIO()
    print_outcome(outcome, Console(width=200, file=text))
    ET.fromstring(draw(outcome))
    json.dumps(outcome.as_json())
    return text.getvalue()


def test_an_hour_s_cost_is_told_by_length(tmp_path: Path) -> None:
    options = Options(folder=tmp_path, lengths_s=(20, 24), rounds=1)
    result = long.run(options, lambda _: None)
    assert [length.label for length in result.lengths] == ["20 s", "24 s"]
    assert all(length.end_s.median > 0 for length in result.lengths)
    kinds = {usage.kind: usage for usage in result.lengths[1].samples[0].usage}
    assert kinds["worker"].cpu_s > 0
    assert kinds["supervisor"].peak_rss_bytes > 2**20
    assert result.as_json()["relative_to_shortest"]["20 s"] == 1
    assert "largest process of each kind" in shown(result)


def test_tasks_and_live_streams_are_counted(tmp_path: Path) -> None:
    load = intake.Load(
        webhooks_per_s=20, webhook_s=1, busy_per_s=10, busy_streams=2, kafka_tasks=50, streams=3
    )
    options = Options(folder=tmp_path, lengths_s=(20,), rounds=1)
    result = intake.run(options, lambda _: None, load)
    assert (result.webhook.requests, result.webhook.refused) == (20, 0)
    assert (result.busy.requests, result.busy.refused, result.busy.streams) == (10, 0, 2)
    assert result.webhook.within[-1][1] == 1
    assert result.kafka.tasks == 50
    assert result.kafka.per_s > 0
    assert (result.live.completed, result.live.gaps) == (3, 0)
    assert result.live.to_vod.p50_s > 0
    assert "3 live streams at once" in shown(result)
