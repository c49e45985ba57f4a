"""The muxer of a span: FFmpeg writes fragmented MP4, ``ftyp moov (moof mdat)*``."""

import io
from collections.abc import Sequence

import av
from av.container import OutputContainer

from pipeline.media.demux import BUFFER_BYTES
from pipeline.stages import stage, timed

_OPTIONS = {
    # One moof per GOP; moov written late so that FFmpeg has seen the AAC configuration; absolute
    # decode times that keep jumps; no mfra at the end since we write our own tables.
    "movflags": "empty_moov+delay_moov+default_base_moof+frag_keyframe+frag_discont+skip_trailer",
    "use_editlist": "0",
    "avoid_negative_ts": "disabled",
    # Bit rates differ from chunk to chunk; without them equal streams have equal sample entries.
    "write_btrt": "0",
}
_AUDIO_FRAGMENT_US = "2000000"


class Muxer:
    """Add streams to ``container``, then packets with ``mux``, then ``close``."""

    def __init__(self, kinds: Sequence[str]) -> None:
        """``kinds``: ``"video"`` or ``"audio"`` of each stream that will be added."""
        self._buffer = io.BytesIO()
        options = dict(_OPTIONS)
        if "video" not in kinds:
            options["frag_duration"] = _AUDIO_FRAGMENT_US
        self.container: OutputContainer = av.open(
            self._buffer, "w", format="mp4", options=options, buffer_size=BUFFER_BYTES
        )
        self.mux = timed("mux", self.container.mux_one)

    def close(self) -> memoryview:
        """All that was written, to be changed in place if need be."""
        with stage("mux"):
            self.container.close()
        return self._buffer.getbuffer()

    def abandon(self) -> None:
        """Close it whatever state it is in."""
        try:
            self.container.close()
        except (av.error.FFmpegError, ValueError):
            return
