"""The examples of docs/api.md do what they say, run as they stand there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import NewBroadcast
from tests.e2e.world import World

pytestmark = pytest.mark.timeout(200)
PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")


def blocks(language: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found
    return "\n".join(found)


def run(world: World, folder: Path, *command: str) -> str:
    environment = os.environ | {
        "URL": world.endpoints["http"],
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_examples_by_curl(world: World, broadcast: NewBroadcast, tmp_path: Path) -> None:
    talk = broadcast(key="talk", stream_id="talk-1")
    talk.show(ended=True)
    script = f"set -euo pipefail\n{blocks('sh')}"
    said = run(world, tmp_path, "bash", "-c", script)
    assert "completed\n" in said
    assert '"title":"A talk"' in said
    assert "100\n" in said
    assert "#EXTM3U" in said
    assert (tmp_path / "poster.jpg").read_bytes()[:2] == b"\xff\xd8"
    assert (tmp_path / "talk.mp4").read_bytes()[4:8] == b"ftyp"
    assert world.recordings("talk-1") == []


def test_the_client_in_python(world: World, broadcast: NewBroadcast, tmp_path: Path) -> None:
    talk = broadcast(key="talk-two", stream_id="talk-2")
    talk.show(ended=True)
    said = run(world, tmp_path, sys.executable, "-c", blocks("python"))
    assert said == "completed 6 s 0 gaps\n"
    done = talk.completed()
    assert (tmp_path / "talk-two.mp4").stat().st_size == done["file_size"]


def test_the_page_names_only_routes_that_are_served(world: World) -> None:
    served = world.http.get("/openapi.json").json()["paths"]
    named = re.findall(r"`(GET|POST|PATCH|DELETE) (/[^` ]*)`", PAGE)
    assert named
    for method, path in named:
        assert method.lower() in served[path], (method, path)
