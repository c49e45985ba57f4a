"""``ladder``: an ended 1080p stream in S3 becomes the objects of the profile ``abr``."""

from collections.abc import Callable, Sequence

from bench import encoding
from bench.result import Options, Result
from pipeline.model import Output


def run(options: Options, say: Callable[[str], object]) -> Result:
    return encoding.run(TASK, options, say)


def _command(outputs: Sequence[Output], every: Sequence[str]) -> list[str]:
    """Decodes once, scales and encodes the lower ones, copies the source."""
    lower = [(output.rendition, output.pictures) for output in outputs if output.pictures]
    split = "".join(f"[{name}-full]" for name, _ in lower)
    scales = (
        f"[{name}-full]scale={spec.width}:{spec.height}:flags=lanczos[{name}]"
        for name, spec in lower
    )
    arguments = [
        "-filter_complex", ";".join([f"[0:v]split={len(lower)}{split}", *scales]),
        "-map", "0:v", "-map", "0:a", "-c", "copy", "-movflags", "+faststart", "main.mp4",
    ]  # fmt: skip
    for name, spec in lower:
        arguments += ["-map", f"[{name}]", *encoding.settings_of(spec), *every,
                      "-movflags", "+faststart", f"{name}.mp4"]  # fmt: skip
    return arguments


TASK = encoding.Task(
    name="ladder",
    title="ended 1080p25 stream in S3 to the source and three renditions in S3, profile abr",
    profile="abr",
    height=1080,
    command=_command,
    notes=(
        "CPU and pictures are told by picture of the source, of which three are encoded",
        "vodray makes each smaller size of the next larger one, FFmpeg's command all of the source",
    ),
)
