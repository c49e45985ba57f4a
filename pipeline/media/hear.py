"""Decoded sound in one form: samples on the recording's own count, pauses as silence."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.packet import Packet
from av.stream import Stream

from pipeline.errors import MediaInvalid

Samples = npt.NDArray[np.float32]

# Timestamps of sound are rounded; a step below this is no pause.
STEADY_S = 0.04
_MAX_SILENCE_S = 30.0


class Hearing:
    """Decodes packets whose times are recording time. ``rate`` in Hz and ``layout`` by FFmpeg's
    name: what comes out, as planar floats of shape ``(channels, n)``.

    ``next``: the number of the sample that comes next, None before the first; ``frame_s``: how long
    the last frame was.
    """

    def __init__(self, stream: Stream, rate: int, layout: str, channels: int) -> None:
        self._context: Any = stream.codec_context
        assert stream.time_base is not None
        self._per_tick = stream.time_base * rate
        self._rate, self._layout, self._channels = rate, layout, channels
        self._form: tuple[str, str, int] | None = None
        self._resampler = self._new_resampler()
        self.next: int | None = None
        self.frame_s = 0.0

    def sample(self, ticks: int) -> int:
        """The number of the sample at this time of the stream."""
        return round(ticks * self._per_tick)

    def decode(self, packet: "Packet[Stream]") -> list[AudioFrame]:
        """Raises ``FFmpegError``."""
        frames: list[AudioFrame] = self._context.decode(packet)
        return frames

    def hear(self, frames: Sequence[AudioFrame]) -> Iterator[tuple[int, Samples]]:
        """What they give, each with the number of its first sample. Raises ``MediaInvalid`` for a
        pause that is too long."""
        for frame in frames:
            self.frame_s = frame.samples / frame.sample_rate
            yield from self._hear(frame)

    def finish(self) -> Iterator[tuple[int, Samples]]:
        """What the resampler held back."""
        if self.next is not None:
            for piece in self._resampler.resample(None):
                yield self._counted(_samples_of(piece))

    def forget(self) -> None:
        """What comes does not go on from what was before."""
        self.next, self._resampler = None, self._new_resampler()

    def _new_resampler(self) -> AudioResampler:
        """One for each form that the source takes on."""
        return AudioResampler("fltp", self._layout, self._rate)

    def _hear(self, frame: AudioFrame) -> Iterator[tuple[int, Samples]]:
        at = self.sample(frame.pts) if frame.pts is not None else self.next
        frame.pts = None
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form != self._form:
            self._form, self._resampler = form, self._new_resampler()
        resampled = self._resampler.resample(frame)
        pieces = [_samples_of(piece) for piece in resampled]
        if at is None or not pieces:
            return
        if self.next is None:
            self.next = at
        pause = at - self.next
        if pause > _MAX_SILENCE_S * self._rate:
            raise MediaInvalid("its sound pauses for too long")
        if pause > STEADY_S * self._rate:
            yield self._counted(np.zeros((self._channels, pause), np.float32))
        for samples in pieces:
            yield self._counted(samples)

    def _counted(self, samples: Samples) -> tuple[int, Samples]:
        assert self.next is not None
        at = self.next
        self.next += samples.shape[1]
        return at, samples


def _samples_of(frame: AudioFrame) -> Samples:
    return frame.to_ndarray().astype(np.float32, copy=False)
