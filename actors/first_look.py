"""The first look at a stream's media: where its clock stands, how many bytes a second it has."""

from dataclasses import replace

from actors.dispatch import Submit, source_limits, submit_patiently
from actors.fair_queue import Urgency
from actors.find_source import Start
from pipeline.errors import MediaInvalid, SourceMissing, SourceUnavailable, VodrayError
from pipeline.jobs import Address, LookJob
from pipeline.media.remux import FirstLook
from pipeline.model import Segment
from pipeline.settings import Settings
from pipeline.source import Source


async def look_at(start: Start, *, recording: str, submit: Submit, settings: Settings) -> FirstLook:
    """The first segment that can be read tells. Raises ``SourceUnavailable`` if none can."""
    problem: VodrayError = SourceUnavailable("no segment is listed")
    for segment in start.first:
        if segment.is_gap:
            problem = MediaInvalid(segment.gap_reason or "it is marked as missing (EXT-X-GAP)")
            continue
        job = _job(segment, start.source, settings)
        try:
            answer = await submit_patiently(submit, job, recording, Urgency.LIVE)
        except (MediaInvalid, SourceMissing, SourceUnavailable) as error:
            problem = error
            continue
        assert isinstance(answer, FirstLook)
        return answer
    raise SourceUnavailable(
        f"None of the first segments of {start.source.ref} can be read: {problem.message}"
    )


def _job(segment: Segment, source: Source, settings: Settings) -> LookJob:
    init = segment.init
    return LookJob(
        segment=Address(url=source.url(segment.uri), byte_range=segment.byte_range),
        init=Address(url=source.url(init.uri), byte_range=init.byte_range) if init else None,
        # The chunk's own download tries again; here the next segment does as well.
        limits=replace(source_limits(settings), attempts=1),
    )
