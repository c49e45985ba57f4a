"""Black pictures and silence of a given length, in the codecs of the media beside it.

One short group of pictures and one frame of silence are encoded, and written again and again.
"""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from math import ceil
from typing import Any

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame

from pipeline.errors import MediaInvalid
from pipeline.media.demux import ANYWHERE, ENCODABLE, codec_name, open_media
from pipeline.media.holes import Blank, Edge
from pipeline.media.interleave import Body
from pipeline.media.muxing import Muxer
from pipeline.media.recode_pictures import ENCODERS, describe_pictures
from pipeline.media.recode_sound import open_sound
from pipeline.media.remux import Remuxed, copy_of
from pipeline.media.sniff import Kind
from pipeline.media.spans import body_of

_FRAME_S = Fraction(1, 10)
_GROUP_FRAMES = 20
# Above it, encoding takes gigabytes and seconds per picture.
_MOST_PIXELS = 4096 * 2304
# Of these, the one in the middle needs nothing of the encoder's beginning and end.
_SOUND_FRAMES = 16
# Nothing is encoded anew to AV1, which takes its time; a few black pictures do not.
_PICTURES = ENCODABLE | {"av1": "libsvtav1"}
_OPTIONS = ENCODERS | {
    "av1": {"preset": "10", "crf": "50", "svtav1-params": "pred-struct=1:keyint=-1:lp=1"}
}


def make_filler(blank: Blank) -> Body:
    """Raises ``MediaInvalid`` if there is no encoder for any of the tracks."""
    with open_media(Kind.MP4, [blank.init]) as source:
        edges = {edge.track_id: edge for edge in blank.tracks}
        streams = [stream for stream in source.streams if stream.id in edges]
        muxer = Muxer([stream.type for stream in streams])
        try:
            packets = [
                packet for stream in streams for packet in _packets(stream, muxer, edges[stream.id])
            ]
            packets.sort(key=_time)
            for packet in packets:
                muxer.mux(packet)
            made = Remuxed(data=muxer.close(), packets=len(packets))
        finally:
            muxer.abandon()
    body = body_of(made)
    span = replace(
        body.span,
        discontinuity=True,
        playlist=blank.playlist,
        era=blank.era,
        sequence=blank.sequence,
        is_filler=True,
    )
    return Body(span, body.data)


def _time(packet: "Packet[Any]") -> Fraction:
    assert packet.dts is not None
    return packet.dts * packet.time_base


def _packets(stream: Stream, muxer: Muxer, edge: Edge) -> "Iterator[Packet[Any]]":
    if stream.type == "video":
        return _black(stream, muxer, edge)
    return _silence(stream, muxer, edge)


def _black(stream: Stream, muxer: Muxer, edge: Edge) -> "Iterator[Packet[Any]]":
    own = codec_name(stream)
    target = own if own in _PICTURES else ANYWHERE["video"]
    out: Any = muxer.container.add_stream(
        _PICTURES[target], rate=1 / _FRAME_S, options=dict(_OPTIONS[target])
    )
    context = out.codec_context
    seen: Any = stream.codec_context
    if seen.width * seen.height > _MOST_PIXELS:
        raise MediaInvalid(f"pictures of {seen.width} x {seen.height} are too large to be filled")
    describe_pictures(context, seen, (seen.width, seen.height), stream)
    group = []
    for number in range(_GROUP_FRAMES):
        picture = _black_picture(context.width, context.height)
        picture.pts, picture.time_base = number, context.time_base
        group += [bytes(packet) for packet in context.encode(picture)]
    group += [bytes(packet) for packet in context.encode(None)]
    begin, end = _ticks(edge, context.time_base)
    shown = int(edge.shown_s // context.time_base)
    count = max(1, round((end - begin) * context.time_base / _FRAME_S))
    times = [begin + (end - begin) * number // count for number in range(count)]
    # The last one is shown until the next is, which may be decoded earlier.
    for number, (at, until) in enumerate(pairwise([*times, max(shown, end)])):
        packet = _packet(group[number % len(group)], out, context.time_base, at)
        packet.duration = until - at
        packet.is_keyframe = number % len(group) == 0
        yield packet


def _silence(stream: Stream, muxer: Muxer, edge: Edge) -> "Iterator[Packet[Any]]":
    seen: Any = stream.codec_context
    own = codec_name(stream)
    target = own if own in ENCODABLE else ANYWHERE["audio"]
    encoder = Muxer(["audio"])
    try:
        form, packer = open_sound(encoder, target, seen.sample_rate, seen.layout.nb_channels)
        context = form.codec_context
        # With the sample entry of the sound beside it: Chromium knows only the first of several.
        is_same = _form(own, seen) == _form(target, context)
        out = copy_of(stream if is_same else form, muxer.container)
        frame, size = _silent_frame(context, packer)
    finally:
        encoder.abandon()
    time_base = Fraction(1, context.sample_rate)
    begin, end = _ticks(edge, time_base)
    for at in range(begin, end - size + 1, size):
        packet = _packet(frame, out, time_base, at)
        packet.duration = size
        yield packet


def _form(codec: str, context: Any) -> tuple[object, ...]:
    """What must be equal for frames to mean the same: of AAC also its kind (AudioSpecificConfig,
    ISO/IEC 14496-3 1.6.2.1: in the first two bytes, without an extension behind them)."""
    config = bytes(context.extradata or b"")[:2] if codec == "aac" else b""
    return codec, context.sample_rate, context.layout.nb_channels, config


def _silent_frame(context: Any, packer: AudioResampler) -> tuple[bytes, int]:
    """One frame, and how many samples it lasts."""
    size = context.frame_size or context.sample_rate // 50
    silence = np.zeros((context.layout.nb_channels, size), np.float32)
    encoded = []
    for number in range(_SOUND_FRAMES):
        frame = AudioFrame.from_ndarray(silence, format="fltp", layout=context.layout.name)
        frame.sample_rate = context.sample_rate
        (ready,) = packer.resample(frame)
        ready.pts, ready.time_base = number * size, Fraction(1, context.sample_rate)
        encoded += [bytes(packet) for packet in context.encode(ready)]
    encoded += [bytes(packet) for packet in context.encode(None)]
    return encoded[len(encoded) // 2], size


def _ticks(edge: Edge, time_base: Fraction) -> tuple[int, int]:
    """First tick and the one behind the last: inside, never over."""
    return ceil(edge.start_s / time_base), int(edge.until_s // time_base)


def _packet(data: bytes, out: Any, time_base: Fraction, at: int) -> "Packet[Any]":
    packet: Packet[Any] = Packet(data)
    packet.stream, packet.time_base = out, time_base
    packet.pts = packet.dts = at
    packet.is_keyframe = True
    return packet


def _black_picture(width: int, height: int) -> VideoFrame:
    picture = VideoFrame(width, height, "yuv420p")
    for plane, level in zip(picture.planes, (16, 128, 128), strict=True):
        plane.update(bytes([level]) * plane.buffer_size)
    return picture
