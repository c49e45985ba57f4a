"""Copied pictures encoded anew for several outputs: decoded once, one picture after the other.

What is done to the pictures themselves goes between ``decoded`` and ``Ladder``, where it does not
depend on the output.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from pipeline.media.decode_pictures import Pictures, undecoded
from pipeline.media.deinterlace import progressive
from pipeline.media.encode_pictures import Lane
from pipeline.media.entries import with_matrix
from pipeline.media.interleave import Body
from pipeline.media.limits import MediaLimits
from pipeline.media.remux import Remuxed
from pipeline.media.scale import Ladder
from pipeline.media.spans import body_of
from pipeline.model import EncodedPictures

__all__ = ["Encoded", "Pictures", "encode"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """``pictures``: how many it holds; ``undecoded``: of the source's samples that gave none."""

    body: Body
    pictures: int
    undecoded: int


def encode(
    given: Pictures, outputs: Sequence[EncodedPictures], limits: MediaLimits
) -> list[Encoded | None]:
    """One for each output, None where no picture came out.

    Raises ``MediaInvalid`` for a codec that is not known and for times that cannot be written, and
    ``EncoderMissing``.
    """
    with ExitStack() as stack:
        lanes = [Lane(spec, number, given) for number, spec in enumerate(outputs)]
        for lane in lanes:
            stack.callback(lane.abandon)
        ladder, shown = Ladder(outputs), dict[int, bool]()
        for picture in progressive(given, limits):
            shown[picture.sample] = picture.is_interlaced
            scaled = ladder.of(picture)
            for lane in lanes:
                lane.take(scaled)
        missing = undecoded(given.body, shown)
        return [_encoded(lane.finish(), given.body, missing) for lane in lanes]


def _encoded(made: Remuxed | None, source: Body, undecoded: int) -> Encoded | None:
    if made is None:
        return None
    body, own = body_of(made), source.span
    span = replace(
        body.span,
        init=with_matrix(body.span.init, own.init),
        discontinuity=own.discontinuity,
        sequence=own.sequence,
        playlist=own.playlist,
        era=own.era,
        is_filler=own.is_filler,
        piece=own.piece,
    )
    return Encoded(body=Body(span, body.data), pictures=made.packets, undecoded=undecoded)
