"""``transcode``: an ended stream in S3 becomes an H.264 MP4 in S3 by the profile ``h264``."""

from collections.abc import Callable, Sequence

from bench import encoding
from bench.result import Options, Result
from pipeline.model import Output


def run(options: Options, say: Callable[[str], object]) -> Result:
    return encoding.run(TASK, options, say)


def _command(outputs: Sequence[Output], every: Sequence[str]) -> list[str]:
    (main,) = outputs
    assert main.pictures is not None
    return [
        "-map", "0:v", "-map", "0:a", *encoding.settings_of(main.pictures),
        "-c:a", "aac", "-b:a", "128k", "-ar", "48000", "-ac", "2",
        *every, "-movflags", "+faststart", "main.mp4",
    ]  # fmt: skip


TASK = encoding.Task(
    name="transcode",
    title="ended 720p25 stream in S3 to H.264 MP4 in S3, profile h264",
    profile="h264",
    height=720,
    command=_command,
    notes=("the sound is encoded anew by both: its rate is above the profile's",),
)
