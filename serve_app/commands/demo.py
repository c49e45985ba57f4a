"""``vodray demo``: record a real stream end to end and show each result."""

from pathlib import Path
from typing import Any

import click

EXIT_FAILED, EXIT_WITH_GAPS = 1, 3


@click.command("demo")
@click.argument("input_ref", metavar="[INPUT]", required=False)
@click.option(
    "--data-dir",
    default=".vodray/demo",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Where services and results are kept.",
)
def command(input_ref: str | None, data_dir: Path) -> None:
    """Record a real stream end to end: webhook and Kafka in, MP4 + HLS + images out.

    Without INPUT a minute of test picture is made and recorded twice: live, announced by webhook,
    and ended, announced through Kafka. INPUT is the path or URL of an .m3u8 to record instead.

    Exit code: 0 each recording passed its verification, 3 media is missing, 1 failed.
    """
    from serve_app.demo.run import results_folder, run

    results = run(input_ref, data_dir)
    for result in results:
        _print(result, data_dir)
    click.echo(f"\nCopies of all objects: {results_folder(data_dir).resolve()}")
    click.echo(f"To look around in the service itself: vodray up --data-dir {data_dir}")
    if any(r.recording["status"] != "completed" or not r.verified for r in results):
        raise click.exceptions.Exit(EXIT_FAILED)
    if any(r.recording["gaps"] for r in results):
        raise click.exceptions.Exit(EXIT_WITH_GAPS)


def _print(result: Any, data_dir: Path) -> None:
    from serve_app.demo.run import results_folder

    recording, report = result.recording, result.report
    click.echo(f"\n{result.title}: {recording['status']}")
    if recording["error"]:
        click.echo(f"  error      {recording['error']}")
        return
    folder = results_folder(data_dir)
    name = recording["file_path"].partition("/")[2].removesuffix(".mp4")
    lines = [
        ("recording", recording["id"]),
        ("MP4", f"s3://{recording['file_path']}  ({recording['file_size']} bytes)"),
        ("HLS", f"s3://{recording['file_path'].removesuffix('.mp4')}/master.m3u8"),
        (
            "poster",
            f"s3://{recording['thumbnail_path']}" if recording["thumbnail_path"] else "none",
        ),
        ("storyboard", _storyboard(report["storyboard"])),
        ("copy", folder / f"{name}.mp4"),
        (
            "media",
            f"{report['duration_s']:.3f} s in {len(report['chunks'])} chunks, "
            f"{report['frames_out']} of {report['frames_in']} packets",
        ),
        ("gaps", len(recording["gaps"])),
        (
            "verified",
            "yes, twice: before publishing and from the bucket" if result.verified else "NO",
        ),
        ("ready", f"{result.waited_s:.1f} s after the end was told"),
    ]
    for title, value in lines:
        click.echo(f"  {title:<10} {value}")
    for gap in recording["gaps"]:
        where = f"{gap['duration_s']:.3f} s missing at {gap['start_s']:.3f} s"
        click.echo(f"  {'gap':<10} {where}: {gap['reason']}")


def _storyboard(told: dict[str, Any]) -> str:
    if "file_path" not in told:
        return "none"
    return f"s3://{told['file_path']}  ({told['tiles']} pictures)"
