"""The playlist of a broadcast (RFC 8216, 4.3; EXT-X-GAP: its second edition), as text."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pipeline.ingest.commands import SEGMENT_S

NAME = "stream.m3u8"
CONTENT_TYPE = "application/vnd.apple.mpegurl"
SEGMENT_TYPE = "video/mp2t"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A segment of a broadcast, the ``number``-th of its ``run``. ``is_gap``: it was not kept."""

    run: int
    number: int
    duration_s: float
    began_at: datetime
    is_gap: bool = False

    @property
    def ended_at(self) -> datetime:
        return self.began_at + timedelta(seconds=self.duration_s)


def segment_name(broadcast: str, run: int, number: int) -> str:
    """Of no other broadcast, so that a later one replaces nothing that may still be read."""
    return f"{broadcast}-{run:03}-{number:05}.ts"


def render(broadcast: str, entries: Sequence[Entry], *, is_ended: bool) -> str:
    """An EVENT playlist of all segments, in order."""
    longest = max((round(entry.duration_s) for entry in entries), default=0)
    lines = [
        "#EXTM3U",
        f"#EXT-X-VERSION:{8 if any(entry.is_gap for entry in entries) else 3}",
        f"#EXT-X-TARGETDURATION:{max(SEGMENT_S, longest)}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:EVENT",
    ]
    run = entries[0].run if entries else 0
    for number, entry in enumerate(entries):
        if entry.run != run:
            lines.append("#EXT-X-DISCONTINUITY")
        if entry.run != run or number == 0:
            lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{_time(entry.began_at)}")
        run = entry.run
        lines.append(f"#EXTINF:{entry.duration_s:.6f},")
        if entry.is_gap:
            lines.append("#EXT-X-GAP")
        lines.append(segment_name(broadcast, entry.run, entry.number))
    return "\n".join([*lines, *(["#EXT-X-ENDLIST"] if is_ended else []), ""])


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
