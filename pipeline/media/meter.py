"""Decoded sound measured: FFmpeg's ``ebur128`` for its loudness, its resampler for true peaks."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.filter import Graph
from av.stream import Stream

from pipeline.errors import MediaInvalid
from pipeline.media.demux import choose_streams, times_of
from pipeline.media.hear import Hearing, Samples
from pipeline.media.loudness import BLOCK_HOPS, HOPS_PER_S, Levels, joined, power_of
from pipeline.media.recode_sound import taken_form
from pipeline.media.remux import Input

# ITU-R BS.1770-4 annex 2.
_OVERSAMPLED = 4
_MOMENTARY = "lavfi.r128.M"


class Meter:
    """Takes samples one after the other, the first of them number ``first`` of the recording."""

    def __init__(self, rate: int, layout: str, channels: int, first: int) -> None:
        self._rate, self._layout = rate, layout
        self._hop = rate // HOPS_PER_S
        self._first, ahead = divmod(first, self._hop)
        # Hops before the first whole one are no part of a block.
        self._unknown = BLOCK_HOPS - 1 + bool(ahead)
        self._taken = 0
        self._momentary: list[float] = []
        self._peaks: list[float] = []
        self._rest = np.zeros(0, np.float32)
        self._graph = _ebur128(rate, layout)
        self._finer = AudioResampler("fltp", layout, _OVERSAMPLED * rate)
        self.take(np.zeros((channels, ahead), np.float32))

    def take(self, samples: Samples) -> None:
        """Shape ``(channels, n)``."""
        if not samples.shape[1]:
            return
        frame = AudioFrame.from_ndarray(
            np.ascontiguousarray(samples), format="fltp", layout=self._layout
        )
        frame.sample_rate, frame.time_base = self._rate, Fraction(1, self._rate)
        frame.pts = self._taken
        self._taken += samples.shape[1]
        self._graph.push(frame)
        self._momentary += _momentary(self._graph)
        frame.pts = None
        self._take_peaks(self._finer.resample(frame))

    def finish(self) -> Levels:
        self._graph.push(None)
        self._momentary += _momentary(self._graph)
        self._take_peaks(self._finer.resample(None))
        if self._rest.size:
            self._peaks.append(float(self._rest.max()))
        hops = -(-self._taken // self._hop)
        power = np.full(hops, np.nan)
        for hop, lufs in enumerate(self._momentary[self._unknown :], self._unknown):
            power[hop] = power_of(lufs)
        peak = np.zeros(hops)
        # The resampler's last sample or two may fall into a hop that there is not.
        known = self._peaks[:hops]
        peak[: len(known)] = known
        return Levels(hop=self._hop, first=self._first, power=power, peak=peak)

    def _take_peaks(self, frames: list[AudioFrame]) -> None:
        found = [np.abs(frame.to_ndarray()).max(axis=0) for frame in frames]
        fine = np.concatenate([self._rest, *found])
        length = _OVERSAMPLED * self._hop
        whole = len(fine) - len(fine) % length
        self._peaks += fine[:whole].reshape(-1, length).max(axis=1).tolist()
        self._rest = fine[whole:]


def measure(given: Input) -> Levels:
    """In the form that it is encoded in. Of several sounds, the loudness is that of the first.

    Raises ``MediaInvalid`` if nothing can be decoded.
    """
    with given.open(thorough=True) as source:
        kept = choose_streams(source).kept
        listeners = {stream.index: _Listener(stream, given) for stream in kept}
        for packet in given.packets(source, kept):
            listeners[packet.stream_index].take(packet)
        found = [listener.finish() for listener in listeners.values()]
    levels = [each for each in found if each is not None]
    if not levels:
        raise MediaInvalid("nothing of it can be decoded")
    return joined(levels)


class _Listener:
    """Decodes one stream, and measures it."""

    def __init__(self, stream: Stream, given: Input) -> None:
        assert stream.time_base is not None
        self._mapping = given.clock().mapping(stream.time_base)
        form = given.form
        self._rate, self._layout = taken_form(form.audio, form.audio_rate, form.audio_channels)
        self._channels = av.AudioLayout(self._layout).nb_channels
        self._hearing = Hearing(stream, self._rate, self._layout, self._channels)
        self._meter: Meter | None = None

    def take(self, packet: Any) -> None:
        if packet.pts is None and packet.dts is None:
            return
        packet.pts, packet.dts = times_of(packet, self._mapping)
        try:
            frames = self._hearing.decode(packet)
        except av.error.FFmpegError:
            return
        self._measure(self._hearing.hear(frames))

    def finish(self) -> Levels | None:
        self._measure(self._hearing.finish())
        return None if self._meter is None else self._meter.finish()

    def _measure(self, heard: Iterator[tuple[int, Samples]]) -> None:
        for at, samples in heard:
            if self._meter is None:
                self._meter = Meter(self._rate, self._layout, self._channels, at)
            self._meter.take(samples)


def _ebur128(rate: int, layout: str) -> Graph:
    graph = Graph()
    graph.threads = 1
    graph.link_nodes(
        graph.add_abuffer(
            sample_rate=rate, format="fltp", layout=layout, time_base=Fraction(1, rate)
        ),
        graph.add("ebur128", "metadata=1"),
        graph.add("abuffersink"),
    ).configure()
    return graph


def _momentary(graph: Graph) -> Iterator[float]:
    """Of each hop that is whole by now, in LUFS."""
    while True:
        try:
            frame = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        # A last hop that is not whole has none.
        if _MOMENTARY in frame.metadata:
            yield float(frame.metadata[_MOMENTARY])
