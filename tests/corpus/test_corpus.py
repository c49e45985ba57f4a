"""Every case of the corpus through the real code, held against its ``case.json`` and FFmpeg."""

import asyncio
import json
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from pipeline.jobs import ChunkJob, LookJob
from tests.corpus.cases import VARIABLE, Case, find_cases
from tests.corpus.judge import FAILED, Judge, remedies
from tests.corpus.table import Row, enter
from tests.corpus.watching import Seen, watching
from tests.local_pool import Result, quick_settings, record

_LIMIT_S = 60
_CASES = find_cases()
_SECRET = Path("/etc/passwd")


@pytest.mark.skipif(_CASES is None, reason=f"{VARIABLE} names no folder of real inputs")
@pytest.mark.parametrize("case", _CASES or [None], ids=lambda case: case.name if case else "none")
async def test_the_recording_is_what_the_case_says(
    case: Case, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    begin = time.monotonic()
    with watching() as seen:
        async with asyncio.timeout(_LIMIT_S):
            result = await record(case.playlist, tmp_path / "out", settings=quick_settings())
    seconds = time.monotonic() - begin
    judge = await asyncio.to_thread(Judge, case, result)
    wrong = [*await asyncio.to_thread(list, judge.complaints()), *_forbidden(case, result, seen)]
    enter(request.node, _row(case, judge, result, seconds, is_right=not wrong))
    assert wrong == []


def _forbidden(case: Case, result: Result, seen: Seen) -> list[str]:
    """What no case may make us do, whether its ``must_not`` names it or not."""
    inside = f"{case.folder.as_uri()}/"
    wrong = [f"connected to {address}" for address in seen.connected]
    wrong += [f"opened {name}" for name in seen.opened if Path(name) in _outside(case)]
    asked = [
        url
        for job in result.jobs
        if isinstance(job, ChunkJob | LookJob)
        for url in job.urls.values()
    ]
    wrong += [f"asked for {url}" for url in asked if not url.startswith(inside)]
    secret = _SECRET.read_text().splitlines()[0]
    told = json.dumps(result.report, default=str) + str(result.recording.error)
    if secret in told or any(
        secret.encode() in path.read_bytes() for path in result.folder.rglob("*") if path.is_file()
    ):
        wrong.append(f"tells what is in {_SECRET}")
    return wrong


def _outside(case: Case) -> set[Path]:
    """Files that its playlist names and that are not its own."""
    named = ((case.folder / unquote(urlsplit(uri).path)).resolve() for uri in case.uris())
    return {path for path in named if not path.is_relative_to(case.folder)}


def _row(case: Case, judge: Judge, result: Result, seconds: float, *, is_right: bool) -> Row:
    there = judge.outcome != FAILED
    packets = sum(track.packets for track in judge.tracks if track.kind == "audio")
    return Row(
        name=case.name,
        outcome=judge.outcome,
        wanted=case.expect["outcome"],
        right="yes" if is_right else "NO",
        frames=str(judge.video.packets if judge.video else 0) if there else "",
        packets=str(packets) if there else "",
        duration=f"{judge.duration_s:.3f}" if there else "",
        gaps=str(len(result.recording.gaps)) if there else "",
        remedies=", ".join(remedies(result.report)),
        seconds=f"{seconds:.2f}",
    )
