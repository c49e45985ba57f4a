"""Profiles of the size of the tests' pictures, as a file of the user's."""

from pathlib import Path
from typing import Any

from pipeline.settings import Settings
from tests.local_pool import quick_settings

_PROFILES = """
[steady.pictures]
encoder = "libx264"
frame_rate = 25
gop = 50
max_rate = "3000k"
buffer = "6000k"
options = { preset = "veryfast", crf = 20 }
[steady.sound]
codec = "aac"
bit_rate = "96k"

[own-times.pictures]
encoder = "libx264"
options = { preset = "veryfast", crf = 20 }

[ladder]
pictures = "copy"
[[ladder.renditions]]
name = "half"
height = 54
encoder = "libx264"
options = { preset = "veryfast", crf = 20 }
[[ladder.renditions]]
name = "third"
height = 36
encoder = "libx264"
options = { preset = "veryfast", crf = 20 }

[rungs.pictures]
encoder = "libx264"
options = { preset = "veryfast", crf = 20 }
[rungs.sound]
codec = "aac"
bit_rate = "96k"
[[rungs.renditions]]
name = "half"
height = 54
encoder = "libx264"
options = { preset = "veryfast", crf = 20 }

[tight.pictures]
encoder = "libx264"
max_rate = "150k"
buffer = "150k"
options = { preset = "veryfast", crf = 10 }

[tight-hevc.pictures]
encoder = "libx265"
max_rate = "150k"
buffer = "150k"
options = { preset = "veryfast", crf = 10 }

[voice]
pictures = "none"
[voice.sound]
codec = "aac"
bit_rate = "96k"
channels = 1

[even]
pictures = "none"
[even.sound]
codec = "aac"
bit_rate = "128k"
channels = 1
loudness = -16

[threads.pictures]
encoder = "libx264"
threads = 3
frame_rate = 25
options = { preset = "veryfast", crf = 20 }

[missing.pictures]
encoder = "h264_nvenc"
"""


def with_profiles(folder: Path, **values: Any) -> Settings:
    """Settings that name them; the file is put beside ``folder``."""
    path = folder.with_suffix(".toml")
    path.write_text(_PROFILES)
    return quick_settings(profiles_file=path, **values)
