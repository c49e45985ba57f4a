"""What the pieces of a chunk become in each of its outputs: copied, or decoded once and encoded.

All that can be copied is copied first, with every remedy (``pipeline.maker``); what is encoded is
read from that. Whatever an encoder needs beside the chunk is made of its neighbours the same way.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from typing import Any

from pipeline.errors import MediaInvalid
from pipeline.maker import Made
from pipeline.media.encode import Pictures, encode
from pipeline.media.encoders import BUFFER_AT_JOINS, BUFFERED
from pipeline.media.interleave import Body
from pipeline.media.limits import MediaLimits
from pipeline.media.samples import TrackSamples
from pipeline.media.vbv import buffer_use
from pipeline.model import AS_IT_IS, ChunkSpec, EncodedPictures, Output
from pipeline.neighbours import Neighbours, apart, is_pictures
from pipeline.sounds import Beside, SoundEncoding
from pipeline.stages import stage

# A step of less than this from one piece to the next is rounding: the next goes on with it.
_CONTINUES_S = Fraction(1, 20)
# Nearer to the middle between two ticks of a constant frame rate, only what comes next tells which.
_SURE = Fraction(3, 10)
# Of a decoder's buffer: what one piece may take out too much.
_ABOUT = 0.01
_MORE_THAN_SHORT = 1.25
_MOST_TRIES = 2


@dataclass(slots=True)
class Rendered:
    """What one output holds of a chunk: bodies by HLS playlist, pictures first. ``packets``: how
    many the muxers were given, fillers included; ``undecoded``: pictures of the source that gave
    none; ``problems``: what of the source could not be encoded at all, as ``Made.lost``."""

    output: Output
    playlists: list[list[Body]]
    packets: int = 0
    undecoded: int = 0
    problems: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Piece:
    """One body, its tracks apart, ``number`` of its playlist. ``pictures``: as they are;
    ``channels``: of its sounds."""

    number: int
    playlist: int
    channels: int
    pictures: Body | None
    sounds: list[Body]
    encoded: dict[EncodedPictures, Body] = field(default_factory=dict)
    undecoded: int = 0


def render(
    chunk: ChunkSpec,
    made: Sequence[Made],
    outputs: Sequence[Output],
    neighbours: Neighbours,
    limits: MediaLimits,
) -> list[Rendered]:
    """One for each output. ``made``: of each playlist of the chunk. Raises ``EncoderMissing``."""
    if list(outputs) == [AS_IT_IS]:
        packets = sum(m.packets + m.filler_packets for m in made)
        return [Rendered(AS_IT_IS, [m.bodies for m in made], packets)]
    pieces = list(_pieces(chunk, made))
    _encode_pictures(pieces, outputs, neighbours, limits)
    return [_rendered(output, pieces, neighbours) for output in outputs]


def _pieces(chunk: ChunkSpec, made: Sequence[Made]) -> Iterator[_Piece]:
    piece = 0
    for m, stretch in zip(made, (chunk.main, *chunk.audio), strict=True):
        for number, body in enumerate(m.bodies):
            # Fillers of all playlists come together.
            playlist = body.span.playlist
            parts = apart(body, chunk)
            parts = [Body(replace(p.span, piece=piece), p.data) for p in parts]
            pictures = [p for p in parts if is_pictures(p)]
            yield _Piece(
                number=number,
                playlist=playlist,
                channels=stretch.form.audio_channels or 2,
                pictures=pictures[0] if pictures else None,
                sounds=[p for p in parts if not is_pictures(p)],
            )
            piece += 1


def _encode_pictures(
    pieces: Sequence[_Piece],
    outputs: Sequence[Output],
    neighbours: Neighbours,
    limits: MediaLimits,
) -> None:
    """Decodes each piece once."""
    wanted = [output.pictures for output in outputs if output.pictures is not None]
    own = [piece for piece in pieces if wanted and piece.pictures is not None]
    for at, piece in enumerate(own):
        assert piece.pictures is not None
        before = own[at - 1].pictures if at else neighbours.pictures_before
        after = own[at + 1].pictures if at + 1 < len(own) else neighbours.pictures_after
        following = partial(_after, after)
        given = Pictures(
            body=piece.pictures,
            before=partial(_before, piece.pictures, before),
            after=following,
            next_s=_next_s(piece.pictures, following, wanted),
        )
        # What cannot be encoded at all is told by whoever looks for it.
        with suppress(MediaInvalid):
            for spec, encoded in zip(wanted, encode(given, wanted, limits), strict=True):
                if encoded is not None:
                    piece.encoded[spec] = _within_limits(encoded.body, given, spec, limits)
                    piece.undecoded = encoded.undecoded


def _within_limits(body: Body, given: Pictures, spec: EncodedPictures, limits: MediaLimits) -> Body:
    """The same, or encoded anew at a lower rate if a decoder's buffer would be emptier behind it
    than the next piece takes for granted."""
    strict = spec
    for _ in range(_MOST_TRIES):
        short = _short_bits(body.span.tracks[0], spec)
        if short <= 0:
            break
        length_s = body.span.tracks[0].end_s - body.span.tracks[0].start_s
        less = _MORE_THAN_SHORT * short / max(length_s, 1.0)
        strict = replace(strict, max_rate=max(spec.max_rate // 4, round(strict.max_rate - less)))
        (encoded,) = encode(given, [strict], limits)
        if encoded is None:
            break
        body = encoded.body
    return body


def _short_bits(track: TrackSamples, spec: EncodedPictures) -> float:
    """By how much it takes more out of a decoder's buffer than comes in."""
    if not spec.max_rate or spec.encoder not in BUFFERED:
        return 0.0
    use = buffer_use(
        track.size,
        track.dts,
        track.timescale,
        max_rate=spec.max_rate,
        buffer_size=spec.buffer_size,
        begin=BUFFER_AT_JOINS,
    )
    missing = max(BUFFER_AT_JOINS - _ABOUT - use.end, -use.lowest)
    return missing * spec.buffer_size


BodyOrRead = Body | None | Callable[[], Body | None]


def _read(body: BodyOrRead) -> Body | None:
    return body() if callable(body) else body


def _before(body: Body, read: BodyOrRead) -> Body | None:
    """What it goes on from."""
    return None if body.span.discontinuity else _read(read)


def _after(read: BodyOrRead) -> Body | None:
    """What goes on from it."""
    following = _read(read)
    return None if following is None or following.span.discontinuity else following


def _next_s(
    body: Body, after: Callable[[], Body | None], wanted: Sequence[EncodedPictures]
) -> Fraction | None:
    """When the next picture is shown, as far as a constant frame rate has to know."""
    end_s = _end_s(body.span.tracks[0])
    if all(_is_sure(end_s, spec) for spec in wanted):
        return None
    following = after()
    if following is None:
        return None
    track = following.span.tracks[0]
    next_s = Fraction(int(track.pts.min()), track.timescale)
    return next_s if abs(next_s - end_s) <= _CONTINUES_S else None


def _is_sure(end_s: Fraction, spec: EncodedPictures) -> bool:
    """Whether rounding cannot tell otherwise than the next picture's own time."""
    if spec.frame_rate is None:
        return True
    ticks = (end_s - spec.phase_s) * spec.frame_rate
    return abs(ticks - round(ticks)) <= _SURE


def _end_s(track: TrackSamples) -> Fraction:
    return Fraction(int((track.pts + track.duration).max()), track.timescale)


def _rendered(output: Output, pieces: Sequence[_Piece], neighbours: Neighbours) -> Rendered:
    made = Rendered(output, [])
    lanes: dict[tuple[int, int], list[Body]] = {}
    encoding = None
    if output.has_sound and output.sound is not None:
        encoding = SoundEncoding(output.sound, neighbours)
    for at, piece in enumerate(pieces):
        bodies = _pictures_of(piece, output, made)
        if encoding is not None:
            bodies += _encoded_sounds(pieces, at, encoding, made)
        elif output.has_sound:
            bodies += piece.sounds
        for body in bodies:
            lanes.setdefault((piece.playlist, body.span.sound), []).append(body)
            made.packets += sum(len(track.size) for track in body.span.tracks)
    made.playlists = [lanes[lane] for lane in sorted(lanes)]
    return made


def _pictures_of(piece: _Piece, output: Output, made: Rendered) -> list[Body]:
    if piece.pictures is None or not output.has_pictures:
        return []
    if output.pictures is None:
        return [piece.pictures]
    if output.pictures not in piece.encoded:
        made.problems.append(_lost(piece, piece.pictures, "none of its pictures can be decoded"))
        return []
    made.undecoded += piece.undecoded
    return [piece.encoded[output.pictures]]


def _encoded_sounds(
    pieces: Sequence[_Piece], at: int, encoding: SoundEncoding, made: Rendered
) -> list[Body]:
    piece, found = pieces[at], []
    for body in piece.sounds:
        try:
            with stage("sound"):
                found.append(encoding.encode(body, _beside(pieces, at), piece.channels))
        except MediaInvalid as error:
            reason = f"its sound cannot be encoded: {error.message}"
            made.problems.append(_lost(piece, body, reason))
    return found


def _beside(pieces: Sequence[_Piece], at: int) -> Beside:
    before, after = (
        pieces[n].sounds
        if 0 <= n < len(pieces) and pieces[n].playlist == pieces[at].playlist
        else None
        for n in (at - 1, at + 1)
    )
    return Beside(before=before, after=after)


def _lost(piece: _Piece, body: Body, reason: str) -> dict[str, Any]:
    """See ``Made.lost``: its time is there, with what else there is of the piece."""
    track = body.span.tracks[0]
    return {
        "sequence": body.span.sequence,
        "duration_s": track.end_s - track.start_s,
        "is_whole": False,
        "breaks": False,
        "reason": reason,
        "playlist": piece.playlist,
        "at_span": piece.number,
        "wall_clock": None,
        "is_filled": False,
    }
