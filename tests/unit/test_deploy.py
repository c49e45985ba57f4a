"""What is deployed beside the service: Prometheus' rules and alerts, Grafana's dashboard."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.metrics import FAMILIES
from serve_app.metrics import GAUGES
from tests.prometheus import DEPLOY, prometheus

ROOT = DEPLOY.parent
OPERATIONS = (ROOT / "docs" / "operations.md").read_text("utf-8")
_METRIC = re.compile(r"\bvodray[_:][a-z0-9_:]+")
_PARTS = re.compile(r"_(bucket|sum|count)$")


def document(path: str) -> Any:
    return yaml.safe_load((DEPLOY / path).read_text("utf-8"))


def rules(path: str) -> list[dict[str, Any]]:
    return [rule for group in document(path)["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return rules("prometheus/alerts.yml")


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run(
        [prometheus("promtool"), *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def exported() -> set[str]:
    """Names without what histograms put behind them."""
    counted = {family.name + ("" if family.buckets else "_total") for family in FAMILIES}
    return set(GAUGES) | counted


# --- Prometheus -------------------------------------------------------------------------------


def test_the_configuration_and_all_rules_can_be_read() -> None:
    promtool("check", "config", DEPLOY / "prometheus" / "prometheus.yml")


def test_each_alert_fires_on_its_cause_and_is_quiet_otherwise() -> None:
    promtool("test", "rules", DEPLOY / "prometheus" / "alerts.test.yml")


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_each_alert_is_tested_both_ways_and_has_a_runbook(alert: dict[str, Any]) -> None:
    name = alert["alert"]
    cases = [
        case
        for test in document("prometheus/alerts.test.yml")["tests"]
        for case in test["alert_rule_test"]
        if case["alertname"] == name
    ]
    assert any(case.get("exp_alerts") for case in cases)
    assert any(not case.get("exp_alerts") for case in cases)
    assert alert["annotations"]["summary"]
    assert alert["labels"]["severity"] in ("page", "ticket")
    page, _, anchor = alert["annotations"]["runbook"].partition("#")
    assert (page, anchor) == ("docs/operations.md", name.lower())
    runbook = OPERATIONS.partition(f"\n### {name}\n")[2].partition("\n### ")[0]
    assert runbook.strip().startswith(f"`{alert['labels']['severity']}`")
    assert re.search(r"users notice", runbook, re.IGNORECASE)
    assert re.search(r"\bdo\b", runbook, re.IGNORECASE)


# --- names ------------------------------------------------------------------------------------


def unknown(text: str) -> set[str]:
    """Metrics of ours that nobody tells."""
    known = exported() | {rule["record"] for rule in rules("prometheus/rules.yml")}
    named = set(_METRIC.findall(text))
    return {name for name in named if name not in known and _PARTS.sub("", name) not in known}


@pytest.mark.parametrize("path", ["prometheus/rules.yml", "prometheus/alerts.yml"])
def test_rules_name_only_what_is_told(path: str) -> None:
    assert unknown(" ".join(rule["expr"] for rule in rules(path))) == set()


def panels() -> list[dict[str, Any]]:
    board = json.loads((DEPLOY / "grafana" / "dashboards" / "vodray.json").read_text("utf-8"))
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def test_the_dashboard_names_only_what_is_told_and_all_of_it() -> None:
    asked = " ".join(target["expr"] for panel in panels() for target in panel["targets"])
    assert unknown(asked) == set()
    shown = {_PARTS.sub("", name) for name in _METRIC.findall(asked)}
    assert exported() - shown == set()


def test_panels_are_told_apart_and_do_not_overlap() -> None:
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_grafana_is_told_where_the_data_and_the_dashboard_are() -> None:
    (source,) = document("grafana/provisioning/datasources/prometheus.yml")["datasources"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    (provider,) = document("grafana/provisioning/dashboards/vodray.yml")["providers"]
    assert provider["type"] == "file"


def test_the_page_on_operations_lists_every_metric_as_it_is() -> None:
    rows = re.findall(r"^\| `(vodray_\w+)` \| (.*?) \| (.*) \|$", OPERATIONS, re.MULTILINE)
    told = {name: (tuple(re.findall(r"`(\w+)`", labels)), said) for name, labels, said in rows}
    assert len(told) == len(rows)
    gauges = {name: (labels, meaning) for name, (meaning, labels) in GAUGES.items()}
    counted = {
        family.name + ("" if family.buckets else "_total"): (
            family.labels,
            family.meaning + (" (histogram)" if family.buckets else ""),
        )
        for family in FAMILIES
    }
    assert told == gauges | counted
