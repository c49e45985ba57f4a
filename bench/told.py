"""A stream whose segments are there and whose playlists tell of them bit by bit."""

from dataclasses import replace
from pathlib import PurePosixPath

import m3u8

from bench.media import SEGMENT_S, Stream
from bench.peers import Place
from bench.world import World


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

    def place_of(self, name: str) -> Place:
        key = PurePosixPath(self._place.playlist_key).with_name(f"{name}.m3u8")
        return replace(self._place, playlist_key=str(key))
