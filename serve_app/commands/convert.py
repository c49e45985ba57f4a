"""``vodray convert``: one recording without any service."""

import asyncio
import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from serve_app.commands._errors import Failure, Misuse
from serve_app.commands._input import check_files, open_input, ranges
from serve_app.commands._progress import ProgressLine

EXIT_WITH_GAPS = 3


@click.command("convert")
@click.argument("input_ref", metavar="INPUT")
@click.argument("output", type=click.Path(path_type=Path))
@click.option(
    "--profile",
    metavar="NAME",
    help="Output profile (vodray profiles lists them). Default: PROFILE, or copy.",
)
@click.option(
    "--json",
    "report_path",
    type=click.Path(path_type=Path),
    metavar="REPORT",
    help="Write the verification report here ('-': standard output).",
)
@click.option("--num-cpus", type=click.IntRange(min=1), help="Use this many cores. Default: all.")
def command(
    input_ref: str,
    output: Path,
    profile: str | None,
    report_path: Path | None,
    num_cpus: int | None,
) -> None:
    """Turn one HLS playlist into an MP4, on all cores, without any service.

    INPUT is a playlist's path, an http(s):// URL or s3://bucket/key (with MINIO_ENDPOINT and its
    keys set). A local playlist is taken as it stands; a remote one is followed until it ends or
    stalls (STALL_TIMEOUT). OUTPUT appears only when it is whole and verified. It ends in .mp4; in
    .m4a for a profile of sound alone; for a profile of several renditions, such as abr, it is a
    folder, new or empty: with an MP4 and a playlist of each, and master.m3u8 over all.

    \b
    Exit code: 0 completed and verified, 3 completed but media is missing (the gaps are listed),
    1 failed, 2 usage.

    \b
    Examples:
      vodray convert recording/stream.m3u8 talk.mp4
      vodray convert https://example.com/live/stream.m3u8 talk.mp4 --json report.json
      vodray convert recording/stream.m3u8 talk --profile abr
    """
    recording, report = asyncio.run(_convert(input_ref, output, profile, num_cpus))
    if report_path is not None:
        _write_report(report_path, report)
    click.echo(
        f"{output}: {report['duration_s']:.3f} s, {recording.file_size} bytes, "
        f"{report['frames_out']} of {report['frames_in']} packets, verified",
        err=True,
    )
    if recording.gaps:
        for gap in recording.gaps:
            click.echo(
                f"gap at {gap.start_s:.3f} s: {gap.duration_s:.3f} s missing, "
                f"segments {ranges(gap.segments)}: {gap.reason}",
                err=True,
            )
        raise click.exceptions.Exit(EXIT_WITH_GAPS)


async def _convert(
    input_ref: str, output: Path, profile: str | None, num_cpus: int | None
) -> tuple[Any, dict[str, Any]]:
    from pipeline import logs
    from pipeline.model import Status
    from pipeline.profiles import find_profile
    from pipeline.settings import load_settings
    from pipeline.source import open_presentation
    from pipeline.stores.objects_folder import FolderStore

    settings = load_settings(**({"profile": profile} if profile else {}))
    made = find_profile(settings.profile, settings.profiles)
    _check_name(output, made.name_suffix, is_folder=bool(made.renditions))
    # The progress line says enough, unless more is asked for.
    if "log_level" not in settings.model_fields_set:
        settings = settings.model_copy(update={"log_level": "warning"})
    logs.configure(settings)
    source, follow = open_input(input_ref, settings)
    _check_target(output, is_folder=bool(made.renditions))
    # What is no playlist, or has no segments here, is told before Ray starts, which takes seconds.
    found = await asyncio.to_thread(open_presentation, source)
    if not follow:
        check_files(found)
    from actors import client
    from serve_app.local_ray import local_ray

    with _scratch(output) as folder, local_ray(settings, num_cpus):
        async with client.workers_only(settings):
            with ProgressLine(input_ref) as line:
                recording, report = await client.record_alone(
                    source,
                    results=FolderStore(folder),
                    bucket="",
                    name="recording",
                    settings=settings,
                    follow=follow,
                    on_progress=line.show,
                )
        if recording.status is not Status.COMPLETED:
            raise Failure(recording.error or "failed")
        whole = folder / (recording.file_path or "").lstrip("/")
        if made.renditions:
            beside = whole.with_name(recording.object_name or "")
            whole = _as_folder(whole, beside, recording.renditions[0].name)
        whole.replace(output)
    return recording, report


def _as_folder(main: Path, beside: Path, rendition: str) -> Path:
    """The main MP4 as one of those in the folder beside it."""
    inside = main.replace(beside / f"{rendition}{main.suffix}")
    for playlist in beside.glob("*.m3u8"):
        lines = playlist.read_text(encoding="utf-8").split("\n")
        named = [inside.name if line == f"../{main.name}" else line for line in lines]
        playlist.write_text("\n".join(named), encoding="utf-8")
    return beside


def _check_name(output: Path, suffix: str, *, is_folder: bool) -> None:
    own = output.suffix.lower()
    if is_folder and own in (".mp4", ".m4a"):
        raise Misuse(f"{output.name} is no folder, and this profile makes several files")
    if not is_folder and own != suffix:
        raise Misuse(f"OUTPUT must end in {suffix}, not {output.name!r}")


def _check_target(output: Path, *, is_folder: bool) -> None:
    if not output.parent.is_dir():
        raise Failure(f"There is no folder {output.parent}")
    if not is_folder and output.is_dir():
        raise Failure(f"{output} is a folder")
    if is_folder and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise Failure(f"{output} is there already, and no empty folder")


@contextmanager
def _scratch(output: Path) -> Iterator[Path]:
    """A hidden folder beside the output, so that the last step is a rename."""
    folder = output.parent / f".{output.stem}.{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_report(path: Path, report: dict[str, Any]) -> None:
    text = json.dumps(report, indent=2)
    if str(path) == "-":
        click.echo(text)
    else:
        path.write_text(text + "\n", encoding="utf-8")
