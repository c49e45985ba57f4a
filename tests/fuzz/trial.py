"""One damaged input through the real code, and what must hold for every one of them."""

import asyncio
import json
import subprocess
import tempfile
import traceback
from pathlib import Path

import imageio_ffmpeg
from click.testing import CliRunner

from pipeline.model import Status
from serve_app.commands import verify
from tests.fuzz.bases import Files
from tests.fuzz.case import Case, segment_numbers
from tests.local_pool import Result, quick_settings, record

_FFMPEG_S = 15
_READ = ("-nostdin", "-v", "error")
_TO_NOTHING = ("-map", "0", "-c", "copy", "-f", "null", "-")
_MAX_ERROR = 1000
_NO_NETWORK = {"allowed_source_hosts": (), "max_retry_attempts": 0}


def try_case(case: Case, *, base_completes: bool) -> tuple[str, str]:
    """``(outcome, problem)``; the problem is empty if all that must hold holds.

    ``base_completes``: whether the stream without the damage becomes a recording.
    """
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        _write(folder / "in", case.files)
        try:
            result = asyncio.run(
                record(
                    folder / "in" / "stream.m3u8",
                    folder / "out",
                    workers=1,
                    settings=quick_settings(**_NO_NETWORK),
                )
            )
        except Exception as error:  # noqa: BLE001 - to be told with all that is known about it
            return "raised", "".join(traceback.format_exception(error))
        problem = _problem_of_failed(result) or _problem_of_completed(result)
        if not problem and base_completes:
            problem = _problem_of_neighbours(case, result)
        said = result.recording.error or ", ".join(gap.reason for gap in result.recording.gaps)
        return f"{result.recording.status}: {said}", problem


def _write(folder: Path, files: Files) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _problem_of_failed(result: Result) -> str:
    if result.recording.status is not Status.FAILED:
        return ""
    error = result.recording.error or ""
    if not error or len(error) > _MAX_ERROR or not error.isprintable():
        return f"no one-line message of at most {_MAX_ERROR} characters: {error[:2000]!r}"
    if "Internal error" in error or "Traceback" in error:
        return error
    left = [str(path) for path in result.folder.rglob("*") if path.is_file()]
    return f"failed and left {left}" if left else ""


def _problem_of_completed(result: Result) -> str:
    if result.recording.status is Status.FAILED:
        return ""
    if result.recording.status is not Status.COMPLETED:
        return f"ended as {result.recording.status}"
    report = result.report
    json.dumps(report, allow_nan=False)
    if report["frames_in"] != report["frames_out"] or not report["frames_out"]:
        return f"{report['frames_in']} frames in, {report['frames_out']} out"
    done = CliRunner().invoke(verify.command, [str(result.mp4), "--json"])
    if done.exit_code:
        trace = "".join(traceback.format_exception(done.exception)) if done.exception else ""
        return f"vodray verify: {done.output}\n{trace}"
    opened = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), *_READ, "-i", str(result.mp4), *_TO_NOTHING],
        capture_output=True,
        timeout=_FFMPEG_S,
        check=False,
    )
    if opened.returncode:
        return f"FFmpeg cannot read the result: {opened.stderr.decode(errors='replace')[:2000]}"
    return ""


def _problem_of_neighbours(case: Case, result: Result) -> str:
    """Where only segments are damaged, and not all of them, the others are recorded."""
    numbers = segment_numbers(case.files)
    if not case.damaged <= numbers.keys() or len(case.damaged) == len(numbers):
        return ""
    if result.recording.status is not Status.COMPLETED:
        return f"lost all for {sorted(case.damaged)}: {result.recording.error}"
    damaged = {numbers[name] for name in case.damaged}
    for gap in result.recording.gaps:
        if set(gap.segments) - damaged:
            return f"segments {damaged} are damaged, and {gap.segments} are lost: {gap.reason}"
    return ""
