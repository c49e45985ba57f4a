"""Sample indexes made up for tests: spans, records and their real init segment."""

import io
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from typing import Any

import av
import numpy as np

from pipeline.media.samples import SampleIndex, Span, TrackSamples
from pipeline.model import ChunkRecord, Part

VIDEO_SCALE, AUDIO_SCALE = 12_800, 48_000
FRAME_TICKS = VIDEO_SCALE // 25


@cache
def init(width: int = 64) -> bytes:
    """``ftyp moov`` of H.264 pictures (track 1) and AAC sound (track 2), as FFmpeg writes it."""
    buffer = io.BytesIO()
    flags = {"movflags": "empty_moov+default_base_moof+frag_keyframe"}
    with av.open(buffer, "w", format="mp4", options=flags) as target:
        video = target.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = width, 64, "yuv420p"
        video.time_base = Fraction(1, VIDEO_SCALE)
        audio = target.add_stream("aac", rate=AUDIO_SCALE)
        audio.layout = "mono"
        target.start_encoding()
        at = buffer.tell()
    return buffer.getvalue()[:at]


def video(start_s: float, frames: int, *, at: int = 0, gop: int = 5, size: int = 100) -> Any:
    """Frames of 1/25 s shown from ``start_s`` on, decoded two frames earlier; one run per GOP, each
    behind 50 bytes of ``moof``."""
    run_count = [min(gop, frames - first) for first in range(0, frames, gop)]
    sizes = np.full(frames, size, np.int64)
    before = np.concatenate(([0], np.cumsum([50 + count * size for count in run_count])[:-1]))
    return TrackSamples(
        track_id=1,
        timescale=VIDEO_SCALE,
        kind="video",
        dts=round(start_s * VIDEO_SCALE) + (np.arange(frames, dtype=np.int64) - 2) * FRAME_TICKS,
        cts=np.full(frames, 2 * FRAME_TICKS, np.int64),
        duration=np.full(frames, FRAME_TICKS, np.int64),
        size=sizes,
        key=np.arange(frames) % gop == 0,
        run_offset=at + 50 + before.astype(np.int64),
        run_count=np.array(run_count, np.int64),
    )


def audio(start_s: float, packets: int, *, at: int = 0, size: int = 10) -> TrackSamples:
    """AAC packets of 1024 samples in one run."""
    return TrackSamples(
        track_id=2,
        timescale=AUDIO_SCALE,
        kind="audio",
        dts=round(start_s * AUDIO_SCALE) + np.arange(packets, dtype=np.int64) * 1024,
        cts=np.zeros(packets, np.int64),
        duration=np.full(packets, 1024, np.int64),
        size=np.full(packets, size, np.int64),
        key=np.ones(packets, bool),
        run_offset=np.array([at], np.int64),
        run_count=np.array([packets], np.int64),
    )


def span(
    tracks: Sequence[TrackSamples],
    *,
    discontinuity: bool = False,
    sequence: int = 0,
    width: int = 64,
) -> Span:
    """A span whose fragments begin 50 bytes before each run of its first track."""
    end = max(int(t.run_offset[-1] + t.size[len(t.size) - t.run_count[-1] :].sum()) for t in tracks)
    fragment_offset = tracks[0].run_offset - 50
    return Span(
        init=init(width),
        tracks=tuple(tracks),
        fragment_offset=fragment_offset,
        fragment_size=np.diff(fragment_offset, append=end),
        discontinuity=discontinuity,
        sequence=sequence,
    )


def record(
    index: int, spans: Sequence[Span], *, is_part: bool = False, lost: Sequence[Any] = ()
) -> ChunkRecord:
    """A finished chunk of these spans. ``lost``: ``(sequence, number of the span behind)``."""
    size = int(spans[-1].fragment_end[-1]) if spans else 0
    packets = sum(len(t.size) for s in spans for t in s.tracks)
    return ChunkRecord(
        index_number=index,
        size_bytes=size,
        part=Part(number=index + 2, etag="e", size_bytes=size) if is_part else None,
        staging_key=f"staged/{index}" if spans and not is_part else None,
        index=SampleIndex(spans=tuple(spans)).pack(),
        report={
            "packets_in": packets,
            "filler_packets": 0,
            "undecodable_streams": [],
            "border": {"decoded": True, "score": float(index)},
            "lost": [
                {
                    "sequence": sequence,
                    "duration_s": 2.0,
                    "is_whole": True,
                    "breaks": True,
                    "reason": f"segment {sequence} is missing",
                    "at_span": at,
                    "playlist": 0,
                    "wall_clock": None,
                    "is_filled": False,
                }
                for sequence, at in lost
            ],
        },
    )
