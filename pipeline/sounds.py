"""The sounds of a chunk encoded: on one grid of frames, and as loud as the profile asks.

All pieces are encoded apart, so each is given what lies beside it: see ``pipeline.media.recode``
for why nothing is heard at the joins, and ``pipeline.media.gain`` for how loud it becomes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.errors import MediaInvalid
from pipeline.media.gain import AROUND_S, Agreed, Gain, gain_towards
from pipeline.media.interleave import Body
from pipeline.media.loudness import HOPS_PER_S, Levels, joined
from pipeline.media.meter import measure
from pipeline.media.recode import recode
from pipeline.media.remux import Input
from pipeline.media.sniff import Kind
from pipeline.media.spans import body_of
from pipeline.model import EncodedSound, Form
from pipeline.neighbours import Border, Neighbours, sound_of
from pipeline.timebase import LEAD_S

# What ended so long ago is not heard any more.
_APART_S = AROUND_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Sounds of the pieces before and behind one; None where those are of other chunks."""

    before: Sequence[Body] | None
    after: Sequence[Body] | None


class SoundEncoding:
    """Of one output and chunk."""

    def __init__(self, spec: EncodedSound, neighbours: Neighbours) -> None:
        self._spec, self._neighbours = spec, neighbours
        # By identity: bodies are there as long as the chunk is.
        self._levels: dict[int, Levels] = {}

    def encode(self, body: Body, beside: Beside, channels: int) -> Body:
        """Raises ``MediaInvalid``."""
        before, after = self._before(body, beside), self._after(body, beside)
        form = Form(
            audio=self._spec.codec,
            audio_rate=self._spec.rate,
            audio_channels=min(channels, self._spec.channels),
            audio_bit_rate=self._spec.bit_rate,
        )
        given = replace(
            _input(body, form), lead=_fragment(before, body, -1), trail=_fragment(after, body, 0)
        )
        made = recode(given, everything=True, gain=self._gain(body, before, after, beside, form))
        encoded = body_of(made)
        span = replace(
            encoded.span,
            discontinuity=body.span.discontinuity,
            sequence=body.span.sequence,
            playlist=body.span.playlist,
            era=body.span.era,
            is_filler=body.span.is_filler,
            piece=body.span.piece,
            sound=body.span.sound,
        )
        return Body(span, encoded.data)

    def _before(self, body: Body, beside: Beside) -> Body | None:
        """What it goes on from."""
        if body.span.discontinuity:
            return None
        if beside.before is None:
            return self._neighbours.sound_before(body.span.playlist, body.span.sound)
        return sound_of(beside.before, body.span.sound)

    def _after(self, body: Body, beside: Beside) -> Body | None:
        """What goes on from it."""
        if beside.after is None:
            found = self._neighbours.sound_after(body.span.playlist, body.span.sound)
        else:
            found = sound_of(beside.after, body.span.sound)
        return None if found is None or found.span.discontinuity else found

    def _gain(
        self, body: Body, before: Body | None, after: Body | None, beside: Beside, form: Form
    ) -> Gain | None:
        if self._spec.loudness is None:
            return None
        playlist, number = body.span.playlist, body.span.sound
        begin = end = None
        if before is not None:
            begin = Border([before], body)
            if beside.before is None:
                begin = self._neighbours.sounds_at_begin(playlist, number)
        if after is not None:
            end = Border([body], after)
            if beside.after is None:
                end = self._neighbours.sounds_at_end(playlist, number)
        return gain_towards(
            self._spec.loudness,
            self._measured(body, form),
            self._agreed(begin, form),
            self._agreed(end, form),
        )

    def _agreed(self, border: Border | None, form: Form) -> Agreed | None:
        """None where one does not go on from the other, or cannot be decoded."""
        if border is None:
            return None
        begin_s = border.after.span.tracks[0].start_s
        near = [b for b in border.before if abs(begin_s - b.span.tracks[0].end_s) <= _APART_S]
        try:
            levels = [self._measured(body, form) for body in (*near, border.after)]
        except MediaInvalid:
            return None
        return Agreed(hop=round(begin_s * HOPS_PER_S), levels=joined(levels)) if near else None

    def _measured(self, body: Body, form: Form) -> Levels:
        if id(body) not in self._levels:
            self._levels[id(body)] = measure(_input(body, form))
        return self._levels[id(body)]


def _input(body: Body, form: Form) -> Input:
    return Input(
        kind=Kind.MP4,
        segments=(bytes(body.data),),
        init=body.span.init,
        # What it carries is recording time already.
        anchor_s=LEAD_S,
        near_s=0.0,
        form=form,
    )


def _fragment(other: Body | None, body: Body, number: int) -> tuple[bytes, ...]:
    """One is enough beside a piece: the encoder needs two frames."""
    if other is None or other.span.init != body.span.init:
        return ()
    begin, end = other.span.fragment_offset[number], other.span.fragment_end[number]
    return (bytes(other.data[int(begin) : int(end)]),)
