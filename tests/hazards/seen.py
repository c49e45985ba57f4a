"""What can be seen and heard in a finished recording, and what must hold of all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.model import Status
from tests import media
from tests.local_pool import Result
from tests.media import BITS, FPS

STEP_S = 0.02  # half a frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Numbers on the pictures and when each is shown; when each tick begins to sound."""

    numbers: list[int]
    times_s: list[float]
    ticks_s: list[float]
    length_s: float

    def at(self, number: int) -> float:
        return self.times_s[self.numbers.index(number)]


def look(path: Path | str, *, sound: int = 0) -> Seen:
    """Decode everything. ``sound``: which audio track is listened to."""
    numbers: list[int] = []
    times: list[float] = []
    with av.open(str(path)) as source:
        length = source.duration
        if source.streams.video:
            for frame in source.decode(video=0):
                numbers.append(number_on(frame))
                times.append(frame.time)
        has_sound = len(source.streams.audio) > sound
    assert length is not None
    return Seen(
        numbers=numbers,
        times_s=times,
        ticks_s=ticks(path, sound) if has_sound else [],
        length_s=length / av.time_base,
    )


def number_on(frame: av.VideoFrame) -> int:
    """The number that ``tests.media`` drew, at whatever size it is shown."""
    luma = np.frombuffer(frame.planes[0], np.uint8).reshape(frame.height, -1)
    rows = luma[frame.height // 18 : frame.height * 4 // 9, : frame.width].astype(np.float32)
    edges = np.arange(BITS + 1) * frame.width // BITS
    blocks = [rows[:, a:b].mean() for a, b in pairwise(edges)]
    return sum(int(level > 125) << bit for bit, level in enumerate(blocks))


def ticks(path: Path | str, track: int = 0) -> list[float]:
    pieces, times = [], []
    with av.open(str(path)) as source:
        for frame in source.decode(audio=track):
            samples = frame.to_ndarray()
            scale = 32_768.0 if samples.dtype == np.int16 else 1.0
            if not frame.format.is_planar:
                samples = samples.reshape(frame.samples, -1).T
            first = samples.astype(np.float32).max(axis=0)
            assert frame.time is not None
            pieces.append(first / scale)
            times.append(frame.time + np.arange(frame.samples) / frame.sample_rate)
    loud = np.concatenate(times)[np.concatenate(pieces) > 0.3]
    return [float(t) for t in loud[np.flatnonzero(np.diff(loud, prepend=-1.0) > 0.5)]]


def assert_completed(
    result: Result, gaps: Sequence[tuple[float, float]] = (), lost: Sequence[int] = ()
) -> None:
    """``gaps``: (start, duration) in seconds of each; ``lost``: all their segments."""
    recording = result.recording
    assert recording.error is None
    assert recording.status is Status.COMPLETED
    assert [(gap.start_s, gap.duration_s) for gap in recording.gaps] == [
        (pytest.approx(start, abs=0.05), pytest.approx(length, abs=0.05)) for start, length in gaps
    ]
    assert [s for gap in recording.gaps for s in gap.segments] == list(lost)
    assert all(gap.reason for gap in recording.gaps)
    assert recording.duration == pytest.approx(result.report["duration_s"], abs=1.0)


def assert_recorded(
    result: Result,
    numbers: Sequence[int],
    *,
    gaps: Sequence[tuple[float, float]] = (),
    lost: Sequence[int] = (),
    silent: Sequence[int] = (),
    has_sound: bool = True,
    clean: bool = True,
    by_hls: bool = True,
    tolerance_s: float = STEP_S,
) -> Seen:
    """Exactly these pictures, in order, none twice; every whole second's picture together with its
    tick (but for the numbers in ``silent``); and as long as its parts.

    ``clean``: FFmpeg has nothing to complain about. ``by_hls``: the same from the HLS ranges.
    """
    assert_completed(result, gaps, lost)
    seen = look(result.mp4)
    assert seen.numbers == list(numbers)
    if clean:
        assert media.decode_complaints(result.mp4) == ""
    if by_hls:
        assert numbers_by_hls(result) == list(numbers)
    if has_sound:
        expected = [
            at
            for number, at in zip(seen.numbers, seen.times_s, strict=True)
            if number % FPS == 0 and number not in silent
        ]
        assert seen.ticks_s == pytest.approx(expected, abs=tolerance_s)
    assert result.report["duration_s"] == pytest.approx(seen.length_s, abs=0.012)
    return seen


def numbers_by_hls(result: Result) -> list[int]:
    """As FFmpeg's HLS reader gets them from the byte ranges."""
    with av.open(str(result.playlist), options={"allowed_extensions": "ALL"}) as source:
        return [number_on(frame) for frame in source.decode(video=0)]


def assert_even(seen: Seen, *, seams: Sequence[int] = (), fps: float = FPS) -> None:
    """Pictures one frame apart; before those of ``seams`` sound may have been longer by a frame."""
    apart = np.diff(seen.times_s)
    for number, step in zip(seen.numbers[1:], apart, strict=True):
        more = 0.045 if number in seams else 0.0
        assert 1 / fps - 0.003 <= step <= 1 / fps + 0.003 + more, number


def sound_packets(path: Path | str) -> list[str]:
    """Digests of the coded sound, track by track."""
    with av.open(str(path)) as source:
        first = {s.index for s in source.streams if s.type == "audio"}
    return [p.digest for p in media.packets(path) if p.stream in first]
