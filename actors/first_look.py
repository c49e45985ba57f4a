"""The first look at a stream's media: where its clocks stand, how many bytes a second it has."""

from collections.abc import Sequence
from functools import partial

import structlog

from actors.fair_queue import Urgency
from actors.submit import Submit, submit_patiently
from pipeline.begin import Search, Seen, look_job
from pipeline.errors import JobIsPoison, MediaInvalid, SourceError, SourceUnavailable
from pipeline.model import FirstLook, Segment, Sound
from pipeline.settings import Settings
from pipeline.staging import Locates

log = structlog.get_logger()


class Looker:
    """Looks for one recording."""

    def __init__(
        self,
        recording: str,
        *,
        submit: Submit,
        settings: Settings,
        addresses: Locates,
        needs_pictures: bool = False,
    ) -> None:
        """``needs_pictures``: what is made depends on their size."""
        self._recording, self._submit, self._settings = recording, submit, settings
        self._addresses = addresses
        self._search = Search(needs_pictures=needs_pictures)

    async def look(self, segments: Sequence[Segment], ref: str) -> Seen:
        """The first segment of the main playlist ``ref`` that can be read tells. Raises
        ``SourceUnavailable`` if none can: more may come. So may pictures that it lacks."""
        return await self._look(segments, ref, self._search)

    async def _look(self, segments: Sequence[Segment], ref: str, search: Search) -> Seen:
        for segment in search.among(segments):
            make_job = partial(look_job, segment, self._addresses, self._settings)
            try:
                answer = await submit_patiently(
                    self._submit, make_job, self._recording, Urgency.LIVE
                )
            except (MediaInvalid, SourceUnavailable, JobIsPoison) as error:
                search.failed(segment, error)
                continue
            assert isinstance(answer, FirstLook)
            search.found(segment, answer)
        return search.result(ref)

    async def look_at_sound(self, sound: Sound, segments: Sequence[Segment]) -> Seen | None:
        """The same of a playlist of sound alone; None if none of it can be read."""
        try:
            return await self._look(segments, sound.name, Search())
        except SourceError as error:
            log.warning("sound_unreadable", recording=self._recording, error=str(error))
            return None
