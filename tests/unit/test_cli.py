"""The command line: help that is fast, thin clients over a real server, errors in one line."""

import asyncio
import json
import subprocess
import sys
import time
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from pipeline.errors import SettingsError, StoreUnavailable
from pipeline.model import Gap, Progress
from serve_app import cli
from serve_app.commands import _api
from serve_app.commands._errors import explained
from tests.unit.api_server import STARTED, Product, served

CLOSED_PORT = "http://127.0.0.1:9"


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(cli.main, arguments, env={"VODRAY_URL": None, **environment})


async def run_against(url: str, *arguments: str) -> Result:
    return await asyncio.to_thread(run, *arguments, VODRAY_URL=url)


def test_help_names_every_command_with_one_line() -> None:
    shown = run("--help")
    assert shown.exit_code == 0
    for name, line in cli.COMMANDS.items():
        assert f"  {name} " in shown.output
        assert line in shown.output
    assert "vodray status e410066c-8d50-4e0f-965f-452af1814ffa --follow" in shown.output


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from serve_app import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'ray', 'pydantic', 'httpx', 'rich', 'fastapi', 'av'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert "Examples:" in done.stdout
    # Generous for a busy machine; it takes 0.1 s on an idle one.
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_listed_command_is_there(name: str) -> None:
    assert find_spec(f"serve_app.commands.{name}") is not None
    shown = run(name, "--help")
    assert shown.exit_code == 0, shown.output
    assert shown.output.startswith(f"Usage: main {name} ")


def test_version() -> None:
    shown = run("--version")
    assert shown.exit_code == 0
    assert shown.output.startswith("vodray ")


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["ls", "--nonsense"], ["ls", "--limit", "0"], ["status"]]
)
def test_usage_errors(arguments: list[str]) -> None:
    failed = run(*arguments)
    assert failed.exit_code == 2
    assert "Usage:" in failed.stderr
    assert failed.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["ls"], f"no service at {CLOSED_PORT}. Start one with `vodray up`, or give --url"),
        (
            ["status", "x"],
            f"no service at {CLOSED_PORT}. Start one with `vodray up`, or give --url",
        ),
        (["ls", "--url", "ftp://x"], None),
        (["ls", "--url", "http://[::1"], None),
    ],
)
def test_no_service(arguments: list[str], line: str | None) -> None:
    failed = run(*arguments, VODRAY_URL=CLOSED_PORT)
    assert failed.exit_code == 1
    assert failed.stdout == ""
    assert failed.stderr.startswith("vodray: ")
    assert failed.stderr.count("\n") == 1
    if line is not None:
        assert failed.stderr == f"vodray: {line}\n"


def test_a_service_that_is_gone_while_it_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_api, "RECONNECT_S", 0.0)
    failed = run("status", "x", "--follow", VODRAY_URL=CLOSED_PORT)
    assert failed.exit_code == 1
    assert failed.stderr.startswith(f"vodray: no service at {CLOSED_PORT}")


def test_the_port_comes_from_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("PORT=9\n")
    assert "no service at http://127.0.0.1:9." in run("ls").stderr
    failed = run("ls", PORT="many")
    assert failed.exit_code == 2
    assert failed.stderr.startswith("vodray: Bad setting. PORT: ")
    assert failed.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (StoreUnavailable("s3 is away", "Start it"), 1, "vodray: s3 is away. Start it"),
        (SettingsError("Bad setting. PORT: no number"), 2, "vodray: Bad setting. PORT: no number"),
        (
            FileNotFoundError(2, "No such file or directory", "a.m3u8"),
            1,
            "vodray: a.m3u8: No such file or directory",
        ),
        (RuntimeError("two\nlines"), 1, "vodray: internal error: RuntimeError: two lines"),
    ],
)
def test_errors_become_one_line(error: Exception, code: int, line: str) -> None:
    @click.command()
    def fails() -> None:
        with explained():
            raise error

    failed = CliRunner().invoke(fails)
    assert (failed.exit_code, failed.stderr) == (code, line + "\n")


async def test_ls_for_scripts() -> None:
    product = Product()
    old = await product.complete(await product.record("a"))
    new = await product.record("b\tc\x1b[31m", STARTED + timedelta(hours=1))
    async with served(product) as (_, url):
        shown = await run_against(url, "ls")
    assert shown.exit_code == 0, shown.stderr
    assert shown.stdout.splitlines() == [
        f"{new.id}\trecording\tid-b c [31m\t2025-10-05T19:00:00Z\t0\t0\t",
        f"{old.id}\tcompleted\tid-a\t2025-10-05T18:00:00Z\t1860\t524288000\trecordings/a.mp4",
    ]


async def test_ls_takes_as_many_pages_as_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_api, "PAGE", 2)
    product = Product()
    made = [(await product.record(f"s{n}", STARTED + timedelta(hours=n))).id for n in range(5)]
    async with served(product) as (_, url):
        everything = await run_against(url, "ls", "--json")
        some = await run_against(url, "ls", "--json", "--limit", "3")
    newest_first = [str(each) for each in reversed(made)]
    assert [each["id"] for each in json.loads(everything.stdout)] == newest_first
    assert [each["id"] for each in json.loads(some.stdout)] == newest_first[:3]


async def test_ls_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_api, "on_terminal", lambda: True)
    product = Product()
    await product.complete(await product.record("a"))
    async with served(product) as (_, url):
        shown = await asyncio.to_thread(run, "ls", VODRAY_URL=url, COLUMNS="200")
    assert "31:00" in shown.stdout
    assert "500.0 MiB" in shown.stdout
    assert "recordings/a.mp4" in shown.stdout


async def test_status() -> None:
    product = Product()
    gap = Gap(start_s=12.5, duration_s=4, reason="404")
    recording = await product.complete(await product.record("a"), gap)
    async with served(product) as (_, url):
        plain = await run_against(url, "status", str(recording.id))
        as_json = await run_against(url, "status", str(recording.id), "--json")
        unknown = await run_against(url, "status", "../health")
    lines = plain.stdout.splitlines()
    assert f"id\t{recording.id}" in lines
    assert "status\tcompleted" in lines
    assert "gap\t12.500 s + 4.000 s: 404" in lines
    assert json.loads(as_json.stdout)["id"] == str(recording.id)
    assert (unknown.exit_code, unknown.stderr) == (1, "vodray: Not found\n")


async def test_follow_until_it_is_done() -> None:
    product = Product()
    recording = await product.record("a")
    async with served(product) as (app, url):
        following = asyncio.create_task(
            run_against(url, "status", str(recording.id), "--follow", "--json")
        )
        async with asyncio.timeout(10):
            while app.state.feed.listener_count == 0:
                await asyncio.sleep(0.01)
        await product.catalog.report_progress(recording.id, 8, Progress(segments=2, seconds=8.0))
        await asyncio.sleep(0.1)
        await product.complete(recording)
        shown = await following
    states = [json.loads(line) for line in shown.stdout.splitlines()]
    assert shown.exit_code == 0
    assert [each["status"] for each in states] == ["recording", "recording", "completed"]
    assert [each["duration"] for each in states] == [0, 8, 1860]


async def test_follow_tells_how_it_ended() -> None:
    product = Product()
    failed = await product.catalog.fail((await product.record("a")).id, "no such playlist")
    gap = Gap(start_s=12.5, duration_s=4, reason="404")
    holey = await product.complete(await product.record("b"), gap)
    async with served(product) as (_, url):
        one = await run_against(url, "status", str(failed.id), "--follow")
        two = await run_against(url, "status", str(holey.id), "--follow")
        three = await run_against(url, "status", "x", "--follow")
    assert one.exit_code == 1
    assert one.stdout == "failed\t0:00\t0/0 chunks\tno such playlist\n"
    assert one.stderr == f"vodray: recording {failed.id} failed: no such playlist\n"
    assert (two.exit_code, two.stderr) == (3, "")
    assert two.stdout == "completed\t31:00\t0/0 chunks\trecordings/b.mp4\n"
    assert (three.exit_code, three.stderr) == (1, "vodray: Recording not found\n")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.9, "0:59"), (61, "1:01"), (3661, "1:01:01")]
)
def test_clock(seconds: float, text: str) -> None:
    assert _api.clock(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 * 1024**4, "5.0 TiB")],
)
def test_size(count: int, text: str) -> None:
    assert _api.size(count) == text
