"""Keyframes of what an output holds of a chunk: found and described by its index and its sample
entries, decoded from the bytes that go up."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import MediaInvalid
from pipeline.media.entries import read_forms
from pipeline.media.images import Picture, decode_keyframe, poster_score
from pipeline.media.limits import MediaLimits
from pipeline.media.samples import Span
from pipeline.media.tables import sample_offsets


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyframe:
    """``time_s``: recording time; ``offset``, ``size``: of its sample, in the chunk; ``entry``: its
    sample entry."""

    time_s: float
    offset: int
    size: int
    entry: bytes


def keyframes(span: Span) -> Iterator[Keyframe]:
    """In decode order; none without pictures."""
    video = next((track for track in span.tracks if track.kind == "video"), None)
    if video is None:
        return
    forms = read_forms(span.init)
    entry = next(form.entry for form in forms if form.track_id == video.track_id)
    offsets = sample_offsets(video.run_offset, video.run_count, video.size)
    for at in video.key.nonzero()[0]:
        yield Keyframe(
            time_s=int(video.dts[at] + video.cts[at]) / video.timescale,
            offset=int(offsets[at]),
            size=int(video.size[at]),
            entry=entry,
        )


class Decoder:
    """Of one chunk. Keeps the picture at its border, so that nobody decodes it again."""

    def __init__(self, pieces: Sequence[memoryview], limits: MediaLimits) -> None:
        self._pieces, self._limits = pieces, limits
        self._at_border: tuple[Keyframe, Picture] | None = None

    def decode(self, key: Keyframe) -> Picture:
        """Raises ``MediaInvalid`` for the smallest damage."""
        if self._at_border is not None and self._at_border[0] == key:
            return self._at_border[1]
        return decode_keyframe(key.entry, self._sample(key), self._limits)

    def decode_border(self, spans: Sequence[Span]) -> dict[str, Any]:
        """The first keyframe of the first fragment; for the report."""
        own = (span for span in spans if not span.is_filler)
        span = next((span for span in own if any(t.kind == "video" for t in span.tracks)), None)
        if span is None:
            return {"decoded": None}
        first = next(keyframes(span), None)
        if first is None or first.offset >= span.fragment_end[0]:
            return {"decoded": False, "reason": "no keyframe in it"}
        try:
            picture = self.decode(first)
        except MediaInvalid as error:
            return {"decoded": False, "reason": error.message}
        self._at_border = first, picture
        return {"decoded": True, "score": round(poster_score(picture.frame), 3)}

    def _sample(self, key: Keyframe) -> bytes:
        """It lies in one piece."""
        offset = key.offset
        for piece in self._pieces:
            if offset < len(piece):
                return bytes(piece[offset : offset + key.size])
            offset -= len(piece)
        raise IndexError("the pieces end before the sample")
