"""The first look at a stream's media: where its clocks stand, how many bytes a second it has."""

from collections.abc import Sequence

import structlog

from actors.dispatch import Submit, submit_patiently
from actors.fair_queue import Urgency
from actors.find_source import Start
from pipeline.begin import Seen, align, look_job
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
from pipeline.source import Source

log = structlog.get_logger()


class Looker:
    """Looks for one recording."""

    def __init__(self, recording: str, submit: Submit, settings: Settings) -> None:
        self._recording, self._submit, self._settings = recording, submit, settings

    async def look(self, start: Start) -> tuple[FirstLook, tuple[Sound, ...]]:
        """The first segment that can be read tells. Raises ``SourceUnavailable`` if none can."""
        main = await self._first(start.first, start.source)
        sounds = [
            await self._align(sound.sound, sound.first, sound.source, main)
            for sound in start.sounds
        ]
        return main.look, tuple(sounds)

    async def _first(self, segments: Sequence[Segment], source: Source) -> Seen:
        problem: VodrayError = SourceUnavailable("no segment is listed")
        for segment in segments:
            if segment.is_gap:
                problem = MediaInvalid(segment.gap_reason or "it is marked as missing (EXT-X-GAP)")
                continue
            job = look_job(segment, source, self._settings)
            try:
                answer = await submit_patiently(self._submit, job, self._recording, Urgency.LIVE)
            except (MediaInvalid, SourceMissing, SourceUnavailable, JobIsPoison) as error:
                problem = error
                continue
            assert isinstance(answer, FirstLook)
            return Seen(segment=segment, look=answer)
        raise SourceUnavailable(
            f"None of the first segments of {source.ref} can be read: {problem.message}"
        )

    async def _align(
        self, sound: Sound, segments: Sequence[Segment], source: Source, main: Seen
    ) -> Sound:
        try:
            aligned = align(sound, await self._first(segments, source), main)
        except SourceError as error:
            log.warning("sound_unreadable", recording=self._recording, error=str(error))
            return sound
        if aligned.shift_s:
            log.info("sound_has_its_own_clock", recording=self._recording, shift_s=aligned.shift_s)
        return aligned
