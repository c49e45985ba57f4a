"""The first look at a stream's media: where its clocks stand, how many bytes a second it has."""

from collections.abc import Sequence
from itertools import islice

import structlog

from actors.dispatch import Submit, submit_patiently
from actors.fair_queue import Urgency
from pipeline.begin import FIRST_SEGMENTS, Seen, align, look_job
from pipeline.errors import (
    JobIsPoison,
    MediaInvalid,
    SourceError,
    SourceMissing,
    SourceUnavailable,
    VodrayError,
)
from pipeline.media.remux import FirstLook
from pipeline.model import Segment, Sound
from pipeline.settings import Settings
from pipeline.staging import Locates

log = structlog.get_logger()


class Looker:
    """Looks for one recording."""

    def __init__(
        self, recording: str, *, submit: Submit, settings: Settings, addresses: Locates
    ) -> None:
        self._recording, self._submit, self._settings = recording, submit, settings
        self._addresses = addresses

    async def look(self, segments: Sequence[Segment], ref: str) -> Seen:
        """The first segment that can be read tells. Raises ``SourceUnavailable`` if none of those
        at the beginning of the playlist ``ref`` can."""
        problem: VodrayError = SourceUnavailable("no segment is listed")
        gaps = [segment for segment in segments if segment.is_gap]
        if gaps:
            problem = MediaInvalid(gaps[0].gap_reason or "it is marked as missing (EXT-X-GAP)")
        there = (segment for segment in segments if not segment.is_gap)
        for segment in islice(there, FIRST_SEGMENTS):
            job = look_job(segment, self._addresses, self._settings)
            try:
                answer = await submit_patiently(self._submit, job, self._recording, Urgency.LIVE)
            except (MediaInvalid, SourceMissing, SourceUnavailable, JobIsPoison) as error:
                problem = error
                continue
            assert isinstance(answer, FirstLook)
            return Seen(segment=segment, look=answer)
        raise SourceUnavailable(
            f"None of the first segments of {ref} can be read: {problem.message}"
        )

    async def align(self, sound: Sound, segments: Sequence[Segment], main: Seen) -> Sound:
        """The sound with the form and the shift that its first segments show."""
        try:
            aligned = align(sound, await self.look(segments, sound.name), main)
        except SourceError as error:
            log.warning("sound_unreadable", recording=self._recording, error=str(error))
            return sound
        if aligned.shift_s:
            log.info("sound_has_its_own_clock", recording=self._recording, shift_s=aligned.shift_s)
        return aligned
