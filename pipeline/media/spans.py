"""What came out of a muxer as a span of the recording, if it can be one."""

from dataclasses import replace

import numpy as np

from pipeline.errors import MediaInvalid
from pipeline.media.entries import without_bit_rates
from pipeline.media.fragments import read_fragments, show_from_start
from pipeline.media.interleave import Body
from pipeline.media.remux import LONGEST_AHEAD_S, LONGEST_STEP_S, Remuxed
from pipeline.media.samples import Span, TrackSamples

_FARTHEST_S = 2**33
_APART_S = 10.0


def body_of(made: Remuxed) -> Body:
    """Raises ``MediaInvalid`` unless as many samples came out as packets went in."""
    span, init_bytes = read_fragments(made.data)
    samples = sum(len(track.size) for track in span.tracks)
    if samples != made.packets or not samples:
        raise MediaInvalid(f"{made.packets} packets went in, but {samples} samples came out")
    _check_span(span)
    body = made.data[init_bytes:]
    show_from_start(body, span)
    return Body(replace(span, init=without_bit_rates(span.init)), body)


def _check_span(span: Span) -> None:
    """One wrong time must not tear the recording apart. Raises ``MediaInvalid``."""
    for track in span.tracks:
        _check_times(track)
    begin_s = min(track.start_s for track in span.tracks)
    length_s = max(track.end_s - track.start_s for track in span.tracks)
    if max(track.start_s for track in span.tracks) - begin_s > length_s + _APART_S:
        raise MediaInvalid("the times of its pictures and sounds are far apart")


def _check_times(track: TrackSamples) -> None:
    """What sample tables can hold. Raises ``MediaInvalid``."""
    steps = np.diff(track.dts)
    longest, ahead = LONGEST_STEP_S * track.timescale, LONGEST_AHEAD_S * track.timescale
    is_long = (steps > longest).any() or (track.duration > longest).any()
    if (steps <= 0).any() or is_long or (np.abs(track.cts) > ahead).any():
        raise MediaInvalid(f"the times of its {track.kind} make no sense")
    if not 0 <= int(track.dts[0]) < _FARTHEST_S * track.timescale:
        raise MediaInvalid(f"the times of its {track.kind} are out of all bounds")
