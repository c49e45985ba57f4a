"""``GAP_POLICY=fill`` inside a chunk: black and silence among what its segments gave."""

from collections.abc import Sequence
from contextlib import suppress

from pipeline.errors import MediaInvalid
from pipeline.filling import blanks
from pipeline.gaps import CLOCK_JUMPS
from pipeline.maker import Made
from pipeline.media.filler import make_filler
from pipeline.media.holes import Hole, find_holes
from pipeline.media.timeline import PlacedSpan, place

# Beside a chunk's own media: as long as that may be. Each hole costs an encoder.
_MOST_INSIDE_S = 600
_MOST_HOLES_INSIDE = 32


def fill_inside(made: Sequence[Made], *, is_first: bool) -> None:
    """Put fillers among the bodies of a chunk, its main playlist first. ``is_first``: the recording
    begins with it. What cannot be filled here is left to whoever places the chunk."""
    main = made[0]
    if not main.bodies:
        return
    spans = [(0, body.span) for of_playlist in made for body in of_playlist.bodies]
    missing_s = _missing_s(main)
    placed = place(spans, missing_s)
    # Other playlists' segments are cut elsewhere: at the chunk's edges nobody knows theirs.
    holes = [
        hole
        for hole in find_holes(placed, missing_s[0], missing_s[-1], is_first=is_first)
        if hole.is_between or hole.beside.span.playlist == 0
    ]
    length_s = sum(hole.length_s for hole in holes)
    if length_s > _MOST_INSIDE_S or len(holes) > _MOST_HOLES_INSIDE:
        return
    for hole in reversed(holes):
        _fill_inside(made, placed, hole)


def _missing_s(main: Made) -> list[float]:
    """Before each of its bodies, and behind the last one."""
    missing_s = [0.0] * (len(main.bodies) + 1)
    for lost in main.lost:
        if lost["breaks"]:
            missing_s[lost["at_span"]] += lost["duration_s"]
    return missing_s


def _fill_inside(made: Sequence[Made], placed: Sequence[PlacedSpan], hole: Hole) -> None:
    own = made[hole.beside.span.playlist]
    at = sum(p.span.playlist == hole.beside.span.playlist for p in placed[: hole.number])
    (blank,) = blanks([hole])
    with suppress(MediaInvalid):
        filler = make_filler(blank)
        own.bodies.insert(at, filler)
        own.filler_packets += sum(len(track.size) for track in filler.span.tracks)
        if own is made[0]:
            _note_filled(own, placed, hole, at)


def _note_filled(main: Made, placed: Sequence[PlacedSpan], hole: Hole, at: int) -> None:
    explained = [lost for lost in main.lost if lost["breaks"] and lost["at_span"] == at]
    for lost in explained:
        lost["is_filled"] = True
    if not explained and not placed[hole.number].span.discontinuity:
        main.lost.append(
            {
                "sequence": placed[hole.number].span.sequence,
                "duration_s": round(placed[hole.number].jump_s or float(hole.length_s), 6),
                "is_whole": False,
                "breaks": False,
                "reason": CLOCK_JUMPS,
                "playlist": 0,
                "at_span": at,
                "wall_clock": None,
                "is_filled": True,
            }
        )
