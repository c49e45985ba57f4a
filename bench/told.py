"""A stream whose segments are there and whose playlists tell of them bit by bit."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath

import m3u8

from bench.media import SEGMENT_S, Stream
from bench.peers import Place
from bench.world import World
from pipeline.model import Recording

# Five minutes at once: hours are recorded in minutes.
_STEP_SEGMENTS = 75


class Told:
    """``place``: of its segments; each name has a playlist of its own beside them."""

    def __init__(self, world: World, place: Place, stream: Stream) -> None:
        self._world, self._place = world, place
        listed = m3u8.loads((stream.folder / "stream.m3u8").read_text())
        self._entries = [f"#EXTINF:{s.duration:.6f},\n{s.uri}" for s in listed.segments]

    @property
    def segments(self) -> int:
        return len(self._entries)

    def tell(self, name: str, count: int) -> None:
        """Of the first ``count`` segments; of the end, if those are all."""
        lines = ["#EXTM3U", "#EXT-X-VERSION:3", f"#EXT-X-TARGETDURATION:{SEGMENT_S}"]
        lines += self._entries[:count]
        if count == self.segments:
            lines.append("#EXT-X-ENDLIST")
        key = self.place_of(name).playlist_key
        text = "\n".join([*lines, ""])
        self._world.store.put(
            self._place.source_bucket, key, text.encode(), "application/vnd.apple.mpegurl"
        )

    def have_recorded(self, name: str, stream_id: str, count: int) -> None:
        """Announce the stream and tell of ``count`` segments, as fast as they are recorded."""
        self.tell(name, 1)
        self._world.announce("stream.started", stream_id, self.place_of(name).hls_path)
        for told in [*range(_STEP_SEGMENTS, count, _STEP_SEGMENTS), count]:
            self.tell(name, told)
            self._world.wait_for(stream_id, _has_done(told))

    def place_of(self, name: str) -> Place:
        key = PurePosixPath(self._place.playlist_key).with_name(f"{name}.m3u8")
        return replace(self._place, playlist_key=str(key))


def _has_done(segments: int) -> Callable[[Recording], bool]:
    def is_reached(recording: Recording) -> bool:
        progress = recording.progress
        return progress.segments >= segments and progress.chunks_done == progress.chunks_total

    return is_reached
