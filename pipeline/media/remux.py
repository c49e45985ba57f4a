"""Segments in, fragments out, without touching the coded pictures and sounds.

FFmpeg's own demuxers and its fragmented-MP4 muxer do the work through PyAV; we choose streams,
move timestamps to recording time and count packets. FFmpeg sees only bytes handed to it.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream

from pipeline.errors import MediaInvalid, Unsupported
from pipeline.media.segments import Joined, Tally, without_torn_end
from pipeline.timebase import Clock

# What MP4 holds and browsers or common players take without conversion.
COPYABLE = frozenset({"h264", "hevc", "av1", "vp9", "aac", "mp3", "ac3", "eac3", "opus", "flac"})

_MUXER = {
    # One moof per GOP; moov written late so that FFmpeg has seen the AAC configuration; absolute
    # decode times that keep jumps; no mfra at the end since we write our own tables.
    "movflags": "empty_moov+delay_moov+default_base_moof+frag_keyframe+frag_discont+skip_trailer",
    "use_editlist": "0",
    "avoid_negative_ts": "disabled",
    # Bit rates differ from chunk to chunk; without them equal streams have equal sample entries.
    "write_btrt": "0",
}
# FFmpeg's muxer ends the process over a step of more than 2**31 ticks; no pause is that long.
_LONGEST_STEP_S = 3600
_AUDIO_FRAGMENT_US = "2000000"
_BUFFER_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Remuxed:
    """``data``: ``ftyp moov (moof mdat)*``. ``packets``: per output track, how many went in.

    ``torn``: frames of sound that are left out because their end is missing. ``dropped``: streams
    that are not kept, as ``"timed_id3 data"``. ``silent``: the first segment
    that gave nothing, ``jump``: the first that does not continue the one before it.
    """

    data: bytes
    packets: tuple[int, ...]
    torn: int
    dropped: tuple[str, ...]
    silent: int | None
    jump: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstLook:
    """What the first segment tells before work starts. ``anchor_s``: see ``pipeline.timebase``."""

    anchor_s: int
    streams: tuple[str, ...]
    bytes_per_s: float


def remux(segments: Sequence[bytes], init: bytes, *, anchor_s: int, near_s: float) -> Remuxed:
    """Remux consecutive segments of one encoding (``init``: their EXT-X-MAP bytes, or empty).

    Raises ``MediaInvalid`` for bytes that are no such media, ``Unsupported`` for codecs that MP4
    or browsers do not take.
    """
    pieces = [without_torn_end(segment) for segment in segments]
    tally = Tally(init, pieces)
    with _media_errors(), _open(init, *pieces) as source:
        kept, dropped = choose_streams(source)
        clock = Clock(anchor_s=anchor_s, near_s=near_s, wraps=_wraps(source))
        buffer = io.BytesIO()
        options = dict(_MUXER)
        if all(stream.type == "audio" for stream in kept):
            options["frag_duration"] = _AUDIO_FRAGMENT_US
        with av.open(
            buffer, "w", format="mp4", options=options, buffer_size=_BUFFER_BYTES
        ) as target:
            lanes = {s.index: _Lane(s, target, clock, tally) for s in kept}
            for packet in source.demux(kept):
                if packet.size:  # The demuxer's flush packets have none.
                    lanes[packet.stream_index].take(packet)
        silent, jump = tally.judge({s.index: s.time_base for s in kept if s.time_base})
        return Remuxed(
            data=buffer.getvalue(),
            dropped=dropped,
            packets=tuple(lanes[s.index].taken for s in kept),
            torn=sum(lane.torn for lane in lanes.values()),
            silent=silent,
            jump=jump,
        )


def first_look(segment: bytes, init: bytes) -> FirstLook:
    """Read one whole segment to learn where the source's clock stands and what is in it."""
    with _media_errors(), _open(init, segment) as source:
        kept, _ = choose_streams(source)
        first: dict[int, Fraction] = {}
        last: dict[int, Fraction] = {}
        for packet in source.demux(kept):
            stamp = packet.dts if packet.dts is not None else packet.pts
            if packet.size and stamp is not None and packet.time_base:
                first.setdefault(packet.stream_index, stamp * packet.time_base)
                last[packet.stream_index] = stamp * packet.time_base
        if not first:
            raise MediaInvalid("the first segment holds no timed packet")
        longest = max(float(last[i] - first[i]) for i in first)
        return FirstLook(
            anchor_s=int(min(first.values()) // 1),
            streams=tuple(_describe(s) for s in kept),
            bytes_per_s=len(segment) / longest if longest > 0 else 0.0,
        )


def choose_streams(source: InputContainer) -> tuple[list[Stream], tuple[str, ...]]:
    """The best video stream and all audio streams; the rest is named."""
    videos = [s for s in source.streams.video if not s.disposition & s.disposition.attached_pic]
    best = max(videos, key=lambda s: s.codec_context.width or 0, default=None)
    kept: list[Stream] = [best] if best is not None else []
    kept += [s for s in source.streams.audio if s.codec_context.sample_rate]
    for stream in kept:
        if _codec(stream) not in COPYABLE:
            raise Unsupported(
                f"{stream.type} codec {_codec(stream)} cannot be copied into MP4",
                "Only H.264, HEVC, AV1, VP9, AAC, MP3, AC-3, E-AC-3, Opus and FLAC can",
            )
    if not kept:
        raise MediaInvalid("no video and no audio in it")
    dropped = tuple(_describe(s) for s in source.streams if s not in kept)
    return kept, dropped


def _describe(stream: Stream) -> str:
    return f"{_codec(stream)} {stream.type}"


def _codec(stream: Stream) -> str:
    """The codec's own name, whichever decoder would read it (``av1``, not ``libdav1d``)."""
    context = getattr(stream, "codec_context", None)
    return context.codec.canonical_name if context else "unknown"


def _wraps(source: InputContainer) -> bool:
    return source.format.name == "mpegts"


class _Lane:
    """One stream on its way from demuxer to muxer."""

    def __init__(self, stream: Stream, target: OutputContainer, clock: Clock, tally: Tally) -> None:
        if stream.time_base is None:
            raise MediaInvalid(f"{stream.type} stream without a time base")
        self.taken = self.torn = 0
        self._index, self._note, self._mux = stream.index, tally.note, target.mux_one
        self._to_recording_time = clock.mapping(stream.time_base)
        self._last_dts, self._longest_step = 0, int(_LONGEST_STEP_S / stream.time_base)
        self._out = target.add_stream_from_template(stream, opaque=True)
        self._out.codec_context.extradata = _without_padding(stream.codec_context.extradata)
        if _codec(stream) == "hevc":
            self._out.codec_context.codec_tag = "hvc1"  # Apple's players take no hev1.
        is_adts = _codec(stream) == "aac" and not stream.codec_context.extradata
        self._unwrap_adts = (
            BitStreamFilterContext("aac_adtstoasc", stream).filter if is_adts else None
        )

    def take(self, packet: "Packet[Stream]") -> None:
        """Called for every packet of hours of media: each attribute costs."""
        if self._unwrap_adts is not None and _is_torn_adts(packet):
            self.torn += 1
            return
        pts, dts = packet.pts, packet.dts
        if pts is None:
            if dts is None:
                raise MediaInvalid(f"{packet.stream.type} packet without a timestamp")
            pts = dts
        packet.pts = pts = self._to_recording_time(pts)
        packet.dts = dts = pts if dts is None else self._to_recording_time(dts)
        if dts - self._last_dts > self._longest_step and self.taken:
            raise MediaInvalid(f"the clock of its {packet.stream.type} jumps")
        self._last_dts = dts
        self.taken += 1
        position = packet.pos
        self._note((self._index, -1 if position is None else position, dts, packet.duration or 0))
        if self._unwrap_adts is None:
            packet.stream = self._out
            self._mux(packet)
        else:
            for ready in self._unwrap_adts(packet):
                ready.stream = self._out
                self._mux(ready)


def _is_torn_adts(packet: "Packet[Stream]") -> bool:
    """Whether the frame is shorter than its header says (ISO/IEC 13818-7 6.2): FFmpeg hands out
    what there is where a segment ends inside a frame, and decoders choke on it."""
    if packet.size < 7:
        return True
    head = memoryview(packet)
    return packet.size < ((head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5)


def _without_padding(extradata: bytes | None) -> bytes | None:
    """Parameter sets in Annex B form without the zeros behind the last one: they belong to the
    next start code, and would make equal streams look different."""
    if extradata is not None and extradata.startswith((b"\0\0\1", b"\0\0\0\1")):
        return extradata.rstrip(b"\0")
    return extradata


def _open(*pieces: bytes) -> InputContainer:
    return av.open(Joined(pieces), "r", metadata_errors="replace", buffer_size=_BUFFER_BYTES)


class _media_errors:  # noqa: N801 - reads as a context, like contextlib's own
    """FFmpeg's errors about bytes become ``MediaInvalid``."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, av.error.FFmpegError):
            raise MediaInvalid(f"FFmpeg cannot read it: {error.strerror}") from error
        if isinstance(error, UnicodeDecodeError):
            raise MediaInvalid("FFmpeg cannot read it: metadata is no text") from error
