"""The first look at a stream's media: where its clocks stand, how many bytes a second it has."""

from collections.abc import Sequence
from dataclasses import replace

import structlog

from actors.dispatch import Submit, source_limits, submit_patiently
from actors.fair_queue import Urgency
from actors.find_source import Start
from pipeline.errors import MediaInvalid, SourceError, SourceMissing, SourceUnavailable
from pipeline.jobs import LookJob
from pipeline.load import references
from pipeline.media.remux import FirstLook
from pipeline.model import Segment, Sound
from pipeline.settings import Settings
from pipeline.source import Source
from pipeline.timebase import nearest_turn

# Playlists of one presentation share a clock (RFC 8216 6.2.4): one that is farther off has its own.
_ONE_CLOCK_S = 10.0

log = structlog.get_logger()


class Looker:
    """Looks for one recording."""

    def __init__(self, recording: str, submit: Submit, settings: Settings) -> None:
        self._recording, self._submit, self._settings = recording, submit, settings

    async def look(self, start: Start) -> tuple[FirstLook, tuple[Sound, ...]]:
        """The first segment that can be read tells. Raises ``SourceUnavailable`` if none can."""
        segment, found = await self._first(start.first, start.source)
        sounds = [
            await self._align(sound.sound, sound.first, sound.source, segment, found)
            for sound in start.sounds
        ]
        return found, tuple(sounds)

    async def _first(
        self, segments: Sequence[Segment], source: Source
    ) -> tuple[Segment, FirstLook]:
        problem: SourceError = SourceUnavailable("no segment is listed")
        for segment in segments:
            if segment.is_gap:
                problem = MediaInvalid(segment.gap_reason or "it is marked as missing (EXT-X-GAP)")
                continue
            job = LookJob(
                segment=segment,
                urls={ref: source.url(ref) for ref in references([segment])},
                # The chunk's own download tries again; here the next segment does as well.
                limits=replace(source_limits(self._settings), attempts=1),
            )
            try:
                answer = await submit_patiently(self._submit, job, self._recording, Urgency.LIVE)
            except (MediaInvalid, SourceMissing, SourceUnavailable) as error:
                problem = error
                continue
            assert isinstance(answer, FirstLook)
            return segment, answer
        raise SourceUnavailable(
            f"None of the first segments of {source.ref} can be read: {problem.message}"
        )

    async def _align(
        self,
        sound: Sound,
        segments: Sequence[Segment],
        source: Source,
        main: Segment,
        look: FirstLook,
    ) -> Sound:
        """By timestamps, unless they are those of another clock: then by EXT-X-PROGRAM-DATE-TIME,
        else both begin together."""
        try:
            segment, own = await self._first(segments, source)
        except SourceError as error:
            log.warning("sound_unreadable", recording=self._recording, error=str(error))
            return sound
        begin_s = nearest_turn(own.begin_s, look.begin_s) if own.wraps else own.begin_s
        later_s = 0.0
        if segment.program_date_time and main.program_date_time:
            later_s = (segment.program_date_time - main.program_date_time).total_seconds()
        if abs(begin_s - look.begin_s - later_s) <= _ONE_CLOCK_S:
            return sound
        shift_s = round(look.begin_s + later_s - begin_s, 6)
        log.info("sound_has_its_own_clock", recording=self._recording, shift_s=shift_s)
        return replace(sound, shift_s=shift_s)
