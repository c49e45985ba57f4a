"""Pictures decoded and encoded anew, each at its own time."""

from fractions import Fraction
from heapq import heappop, heappush
from typing import Any

import av
from av.codec.context import Flags
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame

from pipeline.errors import MediaInvalid
from pipeline.media.demux import ENCODABLE, codec_name, times_of
from pipeline.media.muxing import Muxer
from pipeline.timebase import TickMapping

# Pictures in the order in which they are shown, keyframes where the source has them.
ENCODERS = {
    "h264": {
        "preset": "veryfast",
        "crf": "20",
        "bf": "0",
        "x264-params": "scenecut=0:keyint=infinite",
    },
    "hevc": {
        "preset": "veryfast",
        "crf": "22",
        "x265-params": "bframes=0:scenecut=0:keyint=-1:log-level=none:pools=none",
    },
}
# Fields stay apart, as the player's deinterlacer expects. x265's wrapper takes no notice.
_INTERLACED = Flags.interlaced_dct | Flags.interlaced_me


class Pictures:
    """Decodes, and encodes each picture at its own time."""

    torn = 0

    def __init__(self, stream: Stream, muxer: Muxer, mapping: TickMapping, target: str) -> None:
        context: Any = stream.codec_context
        context.thread_count = 1
        self._mapping, self._context = mapping, context
        self._stream, self._muxer, self._target = stream, muxer, target
        self.what = f"{codec_name(stream)} -> {target}"
        self._expected: list[int] = []
        self._own: dict[int, tuple[int, bool]] = {}
        self._last: int | None = None
        self._shown: dict[int, None] = {}
        self._out: Any = None
        # Some codecs tell the size of their pictures with the first of them; all others have the
        # first track, as in pieces that are copied.
        if context.width and context.height:
            self._begin(context.width, context.height)
        self._packets: list[Packet[Any]] = []

    @property
    def undecoded(self) -> int:
        return len(self._own) - len(self._shown)

    @property
    def undecoded_s(self) -> float:
        times = sorted(self._own)
        if len(times) < 2:
            return 0.0
        step = (times[-1] - times[0]) / (len(times) - 1)
        return self.undecoded * step * float(self._stream.time_base or 0)

    def take(self, packet: "Packet[Stream]", where: int) -> None:
        if where > 0 or (packet.pts is None and packet.dts is None):
            return
        pts, dts = times_of(packet, self._mapping)
        while pts in self._own:  # Some muxers give two pictures one time.
            pts += 1
        packet.pts, packet.dts = pts, dts
        if where == 0:
            self._own[pts] = (dts, packet.is_keyframe)
        heappush(self._expected, pts)
        self._decode(packet)

    def finish(self) -> "list[Packet[Any]]":
        """Pictures are encoded in the order in which they are shown, each decoded when one of the
        source's would have been: not later than it is shown."""
        self._decode(None)
        if self._shown:
            self._packets += self._out.codec_context.encode(None)
        decode_times = sorted(self._own[pts][0] for pts in self._shown)
        for packet, dts in zip(self._packets, decode_times, strict=True):
            assert packet.pts is not None
            packet.stream, packet.dts = self._out, min(dts, packet.pts)
        return self._packets

    def _begin(self, width: int, height: int) -> None:
        self._out = self._muxer.container.add_stream(
            ENCODABLE[self._target],
            rate=_rate(self._stream),
            options=dict(ENCODERS[self._target]),
        )
        encoder = self._out.codec_context
        describe_pictures(encoder, self._context, (width, height), self._stream)

    def _decode(self, packet: "Packet[Stream] | None") -> None:
        try:
            frames = self._context.decode(packet)
        except av.error.FFmpegError:
            return
        for frame in frames:
            self._show(frame)

    def _show(self, frame: VideoFrame) -> None:
        pts = frame.pts if frame.pts is not None else self._expected[0] if self._expected else None
        while self._expected and pts is not None and self._expected[0] <= pts:
            heappop(self._expected)
        if pts is None or pts not in self._own or pts in self._shown:
            return
        # Times that are not in the order of the pictures give way.
        self._last = pts if self._last is None else max(pts, self._last + 1)
        self._shown[pts] = None
        if self._out is None:
            self._begin(frame.width, frame.height)
        context = self._out.codec_context
        if frame.interlaced_frame and not context.is_open:
            context.flags |= int(_INTERLACED)
        picture = frame.reformat(width=context.width, height=context.height, format=context.pix_fmt)
        picture.pts, picture.time_base = self._last, context.time_base
        picture.pict_type = (
            av.video.frame.PictureType.I
            if self._own[pts][1] or len(self._shown) == 1
            else av.video.frame.PictureType.NONE
        )
        self._packets += context.encode(picture)


def _rate(stream: Stream) -> Fraction:
    rate = getattr(stream, "guessed_rate", None) or getattr(stream, "average_rate", None)
    return min(Fraction(rate), Fraction(240)) if rate else Fraction(25)


def describe_pictures(target: Any, source: Any, size: tuple[int, int], stream: Stream) -> None:
    """Size, shape and colours as they are; sides that are odd lose a line."""
    target.width, target.height = (side & ~1 for side in size)
    if target.width < 2 or target.height < 2:
        raise MediaInvalid(f"pictures of {size[0]} x {size[1]}")
    if target.name == "libx265":
        target.codec_tag = "hvc1"  # Apple's players take no hev1.
    # Parameter sets before each keyframe: some players know only the first sample entry.
    target.flags &= ~int(Flags.global_header)
    target.pix_fmt = "yuv420p"
    target.time_base = stream.time_base
    target.thread_count = 1
    target.sample_aspect_ratio = source.sample_aspect_ratio or Fraction(1)
    for name in ("color_primaries", "color_trc", "colorspace"):
        setattr(target, name, getattr(source, name))
