"""Prometheus itself and its tool, which `make test` fetches."""

import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
import yaml

from serve_app.embedded.process import launch_argv

DEPLOY = Path(__file__).parents[1] / "deploy"
_READY_S = 20.0
# What an alert waits for or looks back at, where it would be too long for a test.
_HURRIED = {
    "VodrayFallingBehind": ("> 60", "> 1"),
    "VodrayRecordingStuck": ("> 1800", "> 10"),
    "VodrayStreamStalled": ("0.5 *", "0.2 *"),
    "VodrayTasksWait": ("[10m]", "[10s]"),
}
# A busy machine answers one scrape too late, and has no worker for a moment.
_LEAST_FOR_S = 3


def prometheus(program: str) -> str:
    """The path of ``prometheus`` or ``promtool``."""
    folder = os.environ.get("PROMETHEUS")
    found = shutil.which(program, path=folder) if folder else shutil.which(program)
    if found is None:
        pytest.fail(
            f"These tests need {program}, and it is not in {folder or 'PATH'}. `make test` fetches "
            "it; or name its folder: PROMETHEUS=/path/to/folder"
        )
    return found


class Server:
    """Prometheus itself, configured as we deploy it, but for addresses and a quicker pace."""

    def __init__(
        self, folder: Path, vodray: str, ray: Sequence[Any] = (), *, is_hurried: bool = False
    ) -> None:
        """``vodray``: its address, ``host:port``; ``ray``: targets as for ``file_sd_configs``.
        ``is_hurried``: alerts fire after as many seconds as they would after minutes, and after
        three at least. Runs inside its context."""
        targets = {"vodray": [{"targets": [vodray]}], "ray": list(ray)}
        rules = DEPLOY / "prometheus"
        config = yaml.safe_load((rules / "prometheus.yml").read_text("utf-8"))
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(rules / name) for name in config["rule_files"]]
        if is_hurried:
            config["rule_files"].remove(str(rules / "alerts.yml"))
            config["rule_files"].append(str(_hurried(rules / "alerts.yml", folder)))
        for job in config["scrape_configs"]:
            name = job["job_name"]
            (folder / f"{name}.json").write_text(json.dumps(targets[name]))
            job.pop("static_configs", None)
            job["file_sd_configs"] = [{"files": [str(folder / f"{name}.json")]}]
        self._config = folder / "prometheus.yml"
        self._config.write_text(yaml.safe_dump(config))
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self._port}/api/v1", timeout=10)

    def __enter__(self) -> Self:
        """Returns once it answers."""
        argv = [
            prometheus("prometheus"),
            f"--config.file={self._config}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
            "--log.level=warn",
        ]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                launch_argv(argv, signal.SIGKILL), stdout=log, stderr=subprocess.STDOUT
            )
        give_up = time.monotonic() + _READY_S
        while True:
            with suppress(httpx.TransportError):
                if self.http.get("/status/runtimeinfo").status_code == httpx.codes.OK:
                    return self
            said = (self._folder / "log").read_text()
            assert self._process.poll() is None, said
            assert time.monotonic() < give_up, said
            time.sleep(0.1)

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self._process.terminate()
        self._process.wait(_READY_S)

    def get(self, path: str, **parameters: Any) -> Any:
        answer = self.http.get(path, params=parameters)
        assert answer.status_code == httpx.codes.OK, answer.text
        return answer.json()["data"]

    def value(self, query: str) -> float | None:
        """The only value of a query now, None if there is none."""
        found = self.get("/query", query=query)["result"]
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else None

    def values(self, query: str, since: float) -> list[float]:
        """All that a query gives since then, in seconds since 1970, without NaN."""
        found = self.get("/query_range", query=query, start=since, end=time.time(), step="1s")
        values = (float(at[1]) for series in found["result"] for at in series["values"])
        return [value for value in values if not math.isnan(value)]

    def firing(self) -> set[str]:
        """Names of alerts."""
        alerts = self.get("/alerts")["alerts"]
        return {one["labels"]["alertname"] for one in alerts if one["state"] == "firing"}


def _hurried(rules: Path, folder: Path) -> Path:
    alerts = yaml.safe_load(rules.read_text("utf-8"))
    left = dict(_HURRIED)
    for rule in (rule for group in alerts["groups"] for rule in group["rules"]):
        if "for" in rule:
            assert re.fullmatch(r"\d+m", rule["for"]), rule
            rule["for"] = f"{max(int(rule['for'].removesuffix('m')), _LEAST_FOR_S)}s"
        long, short = left.pop(rule["alert"], ("", ""))
        assert long in rule["expr"], rule
        rule["expr"] = rule["expr"].replace(long, short) if long else rule["expr"]
    assert not left
    written = folder / "alerts.yml"
    written.write_text(yaml.safe_dump(alerts))
    return written
