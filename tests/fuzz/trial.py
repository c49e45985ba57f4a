"""One damaged input through the real code, and what must hold for every one of them."""

import asyncio
import json
import subprocess
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
from click.testing import CliRunner

from pipeline.gaps import CLOCK_JUMPS
from pipeline.media import timeline
from pipeline.model import Status
from serve_app.commands import verify
from tests.fuzz.bases import EVEN, PLAYLIST, Files
from tests.fuzz.case import Case, segment_numbers
from tests.local_pool import Result, quick_settings, record

_FFMPEG_S = 15
_READ = ("-nostdin", "-v", "error")
_TO_NOTHING = ("-map", "0", "-c", "copy", "-f", "null", "-")
_MAX_ERROR = 1000
# Hours of black and silence take longer than a trial may.
_MOST_OPEN_S = 600.0
# A picture or some sound that began in the segment before may go with that.
_MOST = 0.85
# Tables weigh more than frames in a segment of one frame.
_FEW = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """What becomes of a stream without damage. ``numbers`` and ``sizes`` of segments, by file;
    ``lost``: those that it lacks anyway; ``frames`` of all its tracks."""

    numbers: dict[str, int]
    sizes: dict[str, int]
    lost: frozenset[int]
    frames: int


def try_case(case: Case, sound: Sound | None) -> tuple[str, str]:
    """``(outcome, problem)``; the problem is empty if all that must hold holds.

    ``sound`` is None where even the stream without damage does not become a recording.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
            result = _record(case, Path(name))
            problem = _problem_of_failed(result) or _problem_of_completed(result)
    except Exception as error:  # noqa: BLE001 - to be told with all that is known about it
        return "raised", "".join(traceback.format_exception(error))
    if not problem and sound:
        problem = _problem_of_neighbours(case, sound, result)
    said = result.recording.error or ", ".join(gap.reason for gap in result.recording.gaps)
    return f"{result.recording.status}: {said}", problem


def try_sound(case: Case) -> Sound | None:
    """``case`` without damage: what other cases of its base are held against."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        result = _record(case, Path(name))
    if result.recording.status is not Status.COMPLETED:
        return None
    numbers = segment_numbers(case.files)
    return Sound(
        numbers=numbers,
        sizes={name: len(case.files.get(name, b"")) for name in numbers},
        lost=_lost(result),
        frames=result.report["frames_out"],
    )


def _record(case: Case, folder: Path) -> Result:
    timeline.MOST_OPEN_S = _MOST_OPEN_S
    _write(folder / "in", case.files)
    return asyncio.run(
        record(
            folder / "in" / PLAYLIST,
            folder / "out",
            workers=1,
            settings=quick_settings(max_retry_attempts=0, gap_policy=_policy(case.seed)),
        )
    )


def _policy(seed: str) -> str:
    return "cut" if int(seed.rpartition(":")[2]) % 3 else "fill"


def _lost(result: Result) -> frozenset[int]:
    return frozenset(
        lost["sequence"]
        for chunk in result.report["chunks"]
        for lost in chunk["lost"]
        if lost["reason"] != CLOCK_JUMPS
    )


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
    if done.exit_code not in (0, verify.EXIT_DAMAGED):
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


def _problem_of_neighbours(case: Case, sound: Sound, result: Result) -> str:
    """Where only segments are damaged, the others are recorded that are without damage, if any."""
    numbers = sound.numbers
    if not case.damaged <= numbers.keys():
        return ""
    damaged = {numbers[name] for name in case.damaged}
    if set(numbers.values()) <= damaged | sound.lost:
        return ""
    if result.recording.status is not Status.COMPLETED:
        return f"all is lost for {sorted(damaged)}: {result.recording.error}"
    more = _lost(result) - damaged - sound.lost
    if more:
        reasons = [gap.reason for gap in result.recording.gaps]
        return f"segments {sorted(damaged)} are damaged, {sorted(more)} are lost: {reasons}"
    whole = sum(size for name, size in sound.sizes.items() if name not in case.damaged)
    share = whole / sum(sound.sizes.values())
    if case.base in EVEN and result.report["frames_out"] < _MOST * share * sound.frames - _FEW:
        return (
            f"segments {sorted(damaged)} of {len(numbers)} are damaged, and "
            f"{result.report['frames_out']} frames of {sound.frames} are left"
        )
    return ""
