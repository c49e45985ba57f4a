"""TS packets of the sound are lost: the torn frames stay out of the recording (rows 9, 16)."""

from pathlib import Path

import pytest

from tests import bending, media
from tests.bending import AUDIO_PID
from tests.hazards.seen import assert_completed, look
from tests.hazards.test_damage import FORM, FRAMES
from tests.local_pool import record
from tests.media import FPS
from tests.media_fixtures import Clips, copy_clip


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("lost", [(9,), (4, 17, 30), range(10, 25)], ids=["one", "few", "burst"])
@pytest.mark.parametrize("number", [0, 1])
async def test_lost_packets_of_sound(
    number: int, lost: tuple[int, ...], clips: Clips, tmp_path: Path
) -> None:
    playlist = copy_clip(clips(FORM), tmp_path / "in")
    path = bending.paths(playlist)[number]
    path.write_bytes(bending.lose_packets(path.read_bytes(), AUDIO_PID, lost))
    result = await record(playlist, tmp_path / "out")
    assert_completed(result)
    assert media.decode_complaints(result.mp4) == ""
    seen = look(result.mp4)
    assert seen.numbers == list(range(FRAMES))
    for n in range(0, FRAMES, FPS):
        if n // (2 * FPS) != number:
            assert min(abs(tick - seen.at(n)) for tick in seen.ticks_s) < 0.02
