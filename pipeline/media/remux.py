"""Segments in, fragments out, without touching the coded pictures and sounds.

FFmpeg's own demuxers and its fragmented-MP4 muxer do the work through PyAV; we choose streams,
move timestamps to recording time and count packets.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from av.bitstream import BitStreamFilterContext
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream

from pipeline.errors import MediaInvalid
from pipeline.media.composition import as_written
from pipeline.media.demux import (
    ANYWHERE,
    COPYABLE,
    ENCODABLE,
    choose_streams,
    codec_name,
    describe,
    open_media,
    packets_of,
)
from pipeline.media.fragments import count_samples
from pipeline.media.limits import DEFAULT_LIMITS, MediaLimits
from pipeline.media.muxing import Muxer
from pipeline.media.parameters import annex_b, parameter_sets
from pipeline.media.playlist_text import MAX_SEGMENT_S
from pipeline.media.segments import Tally, without_torn_end
from pipeline.media.sniff import Kind, Media
from pipeline.media.ts import read_tables
from pipeline.model import PLAIN, FirstLook, Form, PictureForm
from pipeline.timebase import Clock

# No pause is longer.
LONGEST_STEP_S = 3600
# FFmpeg's muxer ends the process over a longer one.
_LONGEST_STEP_TICKS = 2**31 - 1
# Half of what a segment may claim to be: more are many steps, and none of them is true.
_LONGEST_PIECE_S = MAX_SEGMENT_S / 2
# From when a picture is decoded to when it is shown: at most 16 pictures (ITU-T H.264 A.3.1), be
# each of them shown for seconds.
LONGEST_AHEAD_S = 60
_STAMP_HZ = 90_000
# Pixels of another shape, and other picture rates, are mistakes of the source.
_LONGEST_PIXEL = 8
_HIGHEST_RATE = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """Consecutive segments of one encoding. ``init``: their EXT-X-MAP bytes, or empty.

    ``lead`` and ``trail`` are read before and behind them, but their packets are not wanted.
    ``anchor_s``, ``near_s``, ``shift_s``: see ``Clock`` and ``Stretch``; ``form``: what the
    recording is made to.
    """

    kind: Kind
    segments: tuple[bytes, ...]
    init: bytes = b""
    stamp: int | None = None
    lead: tuple[bytes, ...] = ()
    trail: tuple[bytes, ...] = ()
    anchor_s: int
    near_s: float
    shift_s: float = 0.0
    form: Form = PLAIN
    limits: MediaLimits = DEFAULT_LIMITS

    @property
    def own_bytes(self) -> range:
        """Where the wanted packets begin in ``pieces`` joined."""
        first = len(self.init) + sum(map(len, self.lead))
        return range(first, first + sum(map(len, self.segments)))

    @property
    def pieces(self) -> tuple[bytes, ...]:
        return (self.init, *self.lead, *self.segments, *self.trail)

    def open(self, *, thorough: bool = False) -> AbstractContextManager[InputContainer]:
        return open_media(self.kind, self.pieces, limits=self.limits, thorough=thorough)

    def clock(self) -> Clock:
        """Where nothing in packed audio tells the time, the playlist's durations have to."""
        shift = Fraction(self.shift_s).limit_denominator(_STAMP_HZ)
        if self.kind.is_packed:
            stamp_s = self.anchor_s + Fraction(self.near_s).limit_denominator(_STAMP_HZ)
            shift += stamp_s if self.stamp is None else Fraction(self.stamp, _STAMP_HZ)
        wraps = self.kind is Kind.TS or self.stamp is not None
        return Clock(anchor_s=self.anchor_s, near_s=self.near_s, wraps=wraps, shift_s=shift)

    def packets(self, source: InputContainer, kept: Sequence[Stream]) -> "Iterator[Packet[Stream]]":
        """All packets of its streams that are kept, with the times that are written in them."""
        found = packets_of(source, kept, self.limits)
        return as_written(found, kept, self.pieces) if self.kind is Kind.MP4 else found

    def programs(self) -> list[tuple[int, int]]:
        """``(program, PID)``, only where there are several programs."""
        if self.kind is not Kind.TS:
            return []
        tables = read_tables(self.segments[0])
        found = [(program, pid) for program, pid, _ in tables.streams] if tables else []
        return found if len({program for program, _ in found}) > 1 else []


def make_input(
    media: Sequence[Media], init: bytes, *, limits: MediaLimits = DEFAULT_LIMITS, **others: Any
) -> Input:
    """Of segments of one kind."""
    return Input(
        kind=media[0].kind,
        segments=tuple(without_torn_end(m.data) for m in media),
        init=init,
        stamp=media[0].stamp,
        limits=limits,
        **others,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Remuxed:
    """``data``: ``ftyp moov (moof mdat)*``. ``packets``: how many went into it, all streams.

    ``torn``: frames of sound that are left out because their end is missing. ``dropped``, ``lost``:
    see ``Choice``. ``recoded``: streams that are encoded anew, as ``"mp2 -> aac"``; ``undecoded``:
    their packets that gave nothing, ``undecoded_s``: how long they would have lasted.

    ``cuts``: numbers of segments that do not go on where the one before ended or as it was encoded;
    ``silent``: of those that gave nothing; ``damaged``: of those with packets that lack bytes.
    ``changes_inside``: the one segment is encoded otherwise on the way.
    """

    data: memoryview
    packets: int
    torn: int = 0
    dropped: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    recoded: tuple[str, ...] = ()
    undecoded: int = 0
    undecoded_s: float = 0.0
    cuts: tuple[int, ...] = ()
    silent: tuple[int, ...] = ()
    damaged: tuple[int, ...] = ()
    changes_inside: bool = False


def remux(given: Input) -> Remuxed:
    """Copy all packets. Raises ``MediaInvalid`` for bytes that are no such media, and
    ``CannotCopy`` for codecs that MP4 or browsers do not take."""
    tally = Tally(given.init, [*given.lead, *given.segments, *given.trail])
    with given.open() as source, ExitStack() as stack:
        choice = choose_streams(source, given.programs())
        refuse_to_copy(choice.kept, given.form)
        muxer = Muxer([stream.type for stream in choice.kept])
        stack.callback(muxer.abandon)
        clock = given.clock()
        lanes = {s.index: CopyLane(s, muxer, clock, tally, given) for s in choice.kept}
        for packet in own_packets(source, choice.kept, given):
            lanes[packet.stream_index].take(packet)
        if not any(lane.taken for lane in lanes.values()):
            raise MediaInvalid("no packet in it")
        if given.kind is Kind.MP4:
            _check_promise(choice.kept, lanes, given)
        data = muxer.close()
        verdict = tally.judge({s.index: s.time_base for s in choice.kept if s.time_base})
        ahead, own = len(given.lead), range(len(given.segments))

        def numbers(found: Sequence[int]) -> tuple[int, ...]:
            return tuple(number - ahead for number in found if number - ahead in own)

        return Remuxed(
            data=data,
            dropped=choice.dropped,
            lost=choice.lost,
            packets=sum(lane.taken for lane in lanes.values()),
            torn=sum(lane.torn for lane in lanes.values()),
            cuts=tuple(number for number in numbers(verdict.cuts) if number),
            silent=numbers(verdict.silent),
            damaged=numbers(verdict.damaged),
            changes_inside=len(given.segments) == 1 and bool(verdict.changed),
        )


def _check_promise(kept: Sequence[Stream], lanes: "Mapping[int, CopyLane]", given: Input) -> None:
    """FFmpeg passes over fragments that it does not understand without a word."""
    promised = count_samples(given.segments)
    for stream in kept:
        lane, count = lanes[stream.index], promised[stream.id]
        if lane.taken + lane.torn < count:
            raise MediaInvalid(f"{lane.taken} of {count} {stream.type} samples can be read")


class CannotCopy(MediaInvalid):
    """A codec that MP4 does not hold or nothing plays from it, or another than before."""


def form_of(streams: Sequence[Stream]) -> Form:
    """What a recording that begins with these streams is made to."""
    names = {}
    sound: Any = None
    for stream in reversed(streams):
        name = codec_name(stream)
        names[stream.type] = name if name in COPYABLE else ANYWHERE[stream.type]
        sound = stream.codec_context if stream.type == "audio" else sound
    return Form(
        video=names.get("video", ""),
        audio=names.get("audio", ""),
        audio_rate=sound.sample_rate if sound else 0,
        audio_channels=sound.layout.nb_channels if sound else 0,
    )


def is_copied(stream: Stream, form: Form) -> bool:
    """Whether its packets go as they are into a recording of this form."""
    name, main = codec_name(stream), form.video if stream.type == "video" else form.audio
    return name in COPYABLE and (name == main or main not in ENCODABLE)


def refuse_to_copy(streams: Sequence[Stream], form: Form) -> None:
    for stream in streams:
        if not is_copied(stream, form):
            raise CannotCopy(f"{describe(stream)} cannot be copied into this recording")


def own_packets(
    source: InputContainer, kept: Sequence[Stream], given: Input
) -> "Iterator[Packet[Stream]]":
    """The packets that begin in the segments, neither before nor behind them."""
    if not given.lead and not given.trail:
        yield from given.packets(source, kept)
        return
    own = given.own_bytes
    for packet, position in placed_packets(source, kept, given):
        if position in own:
            yield packet


def placed_packets(
    source: InputContainer, kept: Sequence[Stream], given: Input
) -> "Iterator[tuple[Packet[Stream], int]]":
    """Packets with where they begin; one that does not tell is where its stream was before."""
    last = dict.fromkeys((stream.index for stream in kept), 0)
    for packet in given.packets(source, kept):
        if packet.pos is not None and packet.pos >= 0:
            last[packet.stream_index] = packet.pos
        yield packet, last[packet.stream_index]


def first_look(given: Input) -> FirstLook:
    """Read one whole segment to learn where the source's clock stands and what is in it."""
    with given.open() as source:
        kept = choose_streams(source, given.programs()).kept
        offset_s = given.clock().shift_s
        heard: dict[int, _Heard] = {}
        shown: list[Fraction] = []
        for packet in given.packets(source, kept):
            stamp = packet.dts if packet.dts is not None else packet.pts
            if stamp is not None:
                time_s = stamp * packet.time_base + offset_s
                heard.setdefault(packet.stream_index, _Heard(time_s)).take(time_s, packet.size)
            if packet.pts is not None and packet.stream.type == "video":
                shown.append(packet.pts * packet.time_base + offset_s)
        if not heard:
            raise MediaInvalid("the first segment holds no timed packet")
        longest = max(float(own.last_s - own.first_s) for own in heard.values())
        sound = next((s.index for s in kept if s.type == "audio"), None)
        return FirstLook(
            begin_s=float(min(own.first_s for own in heard.values())),
            wraps=given.clock().wraps,
            streams=tuple(map(describe, kept)),
            form=form_of(kept),
            bytes_per_s=sum(map(len, given.segments)) / longest if longest > 0 else 0.0,
            pictures=_picture_form(kept[0]),
            shown_s=min(shown, default=Fraction(0)),
            sound_bits_per_s=heard[sound].bits_per_s if sound in heard else 0.0,
            is_timed=not given.kind.is_packed or given.stamp is not None,
        )


class _Heard:
    """How much of a stream came, and from when to when."""

    def __init__(self, first_s: Fraction) -> None:
        self.first_s = self.last_s = first_s
        self._packets = self._bytes = 0

    def take(self, time_s: Fraction, size: int) -> None:
        self.last_s = time_s
        self._packets += 1
        self._bytes += size

    @property
    def bits_per_s(self) -> float:
        """As if the last packet were as long as the others; 0: nothing tells."""
        if self.last_s <= self.first_s:
            return 0.0
        length_s = float(self.last_s - self.first_s) * self._packets / (self._packets - 1)
        return 8 * self._bytes / length_s


def _picture_form(stream: Stream) -> PictureForm | None:
    """None for sound, and for pictures of which nothing tells the size."""
    context: Any = stream.codec_context
    if stream.type != "video" or not context.width or not context.height:
        return None
    video: Any = stream
    rate = Fraction(video.guessed_rate or video.average_rate or 0)
    aspect = Fraction(context.sample_aspect_ratio or 0)
    return PictureForm(
        width=context.width,
        height=context.height,
        aspect=aspect if Fraction(1, _LONGEST_PIXEL) <= aspect <= _LONGEST_PIXEL else Fraction(1),
        frame_rate=rate if 1 <= rate <= _HIGHEST_RATE else Fraction(25),
    )


class CopyLane:
    """One stream on its way from demuxer to muxer."""

    def __init__(
        self, stream: Stream, muxer: Muxer, clock: Clock, tally: Tally, given: Input
    ) -> None:
        if stream.time_base is None:
            raise MediaInvalid(f"{stream.type} stream without a time base")
        self.taken = self.torn = 0
        self._index, self._note, self._mux = stream.index, tally.note, muxer.mux
        self._changed, self._damaged, self._at = tally.changed, tally.damaged, 0
        self._to_recording_time = clock.mapping(stream.time_base)
        self._end_dts, self._latest_dts = 0, 2**63 - 1
        self._longest_step = longest_step(stream.time_base)
        self._longest_piece = longest_piece(stream.time_base)
        self.out = copy_of(stream, muxer.container)
        self._filter, self._is_adts = to_mp4_form(stream, self.out, given), is_adts(stream)
        name = codec_name(stream)
        self._codec = name if name in ("h264", "hevc") else None
        self._form = b""
        # Packed audio of one frame has no time at all.
        self._untimed = 0 if given.kind.is_packed else None

    def take(self, packet: "Packet[Stream]") -> None:
        """Called for every packet of hours of media: each attribute costs."""
        position = packet.pos
        if position is not None and position >= 0:
            self._at = position
        if packet.is_corrupt:
            self._damaged(self._at)
        if self._is_adts and not self._take_adts(packet):
            return
        pts, dts = packet.pts, packet.dts
        if pts is None:
            pts = dts if dts is not None else self._untimed
            if pts is None:
                raise MediaInvalid(f"{packet.stream.type} packet without a timestamp")
        packet.pts = pts = self._to_recording_time(pts)
        packet.dts = dts = pts if dts is None else self._to_recording_time(dts)
        # The first one may lie anywhere.
        if dts > self._latest_dts:
            raise MediaInvalid(f"the clock of its {packet.stream.type} jumps")
        self._end_dts = self._end_dts or dts + self._longest_piece
        self._latest_dts = min(dts + self._longest_step, self._end_dts)
        self.taken += 1
        self._note((self._index, -1 if position is None else position, dts, packet.duration or 0))
        if self._codec is not None and packet.is_keyframe:
            self._watch_form(packet)
        if self._filter is None:
            packet.stream = self.out
            self._mux(packet)
        else:
            for ready in self._filter.filter(packet):
                ready.stream = self.out
                self._mux(ready)

    def _take_adts(self, packet: "Packet[Stream]") -> bool:
        """Whether the frame is whole. Its header tells when it is encoded otherwise."""
        if is_torn_adts(packet):
            self.torn += 1
            return False
        form = adts_form(packet)
        if form != self._form:
            if self._form:
                self._changed(self._at)
            self._form = form
        return True

    def _watch_form(self, packet: "Packet[Stream]") -> None:
        """Other parameter sets than before: the sample entry that was written does not hold."""
        assert self._codec is not None
        form = parameter_sets(self._codec, packet)
        if form and self._form and form != self._form:
            self._changed(self._at)
        self._form = form or self._form


def longest_step(time_base: Fraction) -> int:
    """How many ticks may lie between two packets of a stream."""
    return min(int(LONGEST_STEP_S / time_base), _LONGEST_STEP_TICKS)


def longest_piece(time_base: Fraction) -> int:
    """How many ticks may lie between the first and the last packet of what is read together."""
    return int(_LONGEST_PIECE_S / time_base)


def copy_of(stream: Stream, target: OutputContainer) -> Stream:
    """A stream of ``target`` that takes the packets of ``stream`` as they are."""
    out: Stream = target.add_stream_from_template(stream, opaque=True)
    out.codec_context.extradata = _without_padding(stream.codec_context.extradata)
    if codec_name(stream) == "hevc":
        out.codec_context.codec_tag = "hvc1"  # Apple's players take no hev1.
    return out


def is_adts(stream: Stream) -> bool:
    """AAC whose frames carry ADTS headers."""
    return codec_name(stream) == "aac" and not stream.codec_context.extradata


def to_mp4_form(stream: Stream, out: Stream, given: Input) -> BitStreamFilterContext | None:
    """A filter for what cannot go into ``out`` as it is, None for everything else.

    Parameter sets of H.264 are put before each keyframe where the recording's form asks for it, as
    MPEG-TS has them: Chromium knows only the first of several sample entries.
    """
    if is_adts(stream):
        return BitStreamFilterContext("aac_adtstoasc", stream)
    extradata = stream.codec_context.extradata or b""
    is_avcc = codec_name(stream) == "h264" and extradata[:1] == b"\1"
    if given.kind is not Kind.MP4 or not given.form.in_band or not is_avcc:
        return None
    out.codec_context.extradata = annex_b(extradata)
    return BitStreamFilterContext("h264_mp4toannexb", stream)


def adts_form(packet: "Packet[Stream]") -> bytes:
    """Profile, sampling rate and channels of an ADTS frame (ISO/IEC 13818-7 6.2.1)."""
    head = memoryview(packet)
    return bytes((head[2] & 0xFD, head[3] & 0xC0))


def is_torn_adts(packet: "Packet[Stream]") -> bool:
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
