"""What ``m3u8`` chokes on is put right before it reads, line by line.

``m3u8`` raises on numbers and lists that are a little off, breaks lines and lists at characters
that may be in names, matches tags by their beginning, and loses addresses without EXTINF. So it is
given the tags that matter and no others, in plain form; addresses, dates and attribute lists
travel as numbers and are looked up in ``Repaired.values``.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil

from pipeline.errors import PlaylistInvalid, Unsupported
from pipeline.media.playlist_text import Line, PlaylistLimits, address, attributes
from pipeline.media.playlist_variables import Variables

_MAX_ENTRIES = 10_000
_MAX_TAGS_BEFORE_ADDRESS = 200
_MAX_SEQUENCE = 2**63 - 1
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_SEQUENCE = re.compile(r'"?(\d{1,19})(?:\.0*)?"?', re.ASCII)
_YEARS = range(1970, 3000)

_UNSUPPORTED = {
    "EXT-X-I-FRAMES-ONLY": "holds only I-frames",
    "EXT-X-IMAGES-ONLY": "holds only images",
    "EXT-X-SKIP": "is a delta update, which leaves out segments",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """``text`` for m3u8; ``values``: addresses, attribute lists as text, dates in UTC."""

    text: str
    values: Sequence[str | datetime]


def repair(lines: Iterable[Line], ref: str, limits: PlaylistLimits) -> Repaired:
    """Raises ``PlaylistInvalid`` and ``Unsupported`` with the line."""
    repairing = _Repairing(ref, limits)
    for line in lines:
        repairing.take(line)
    return Repaired(text="\n".join(repairing.out), values=repairing.values)


class _Repairing:
    def __init__(self, ref: str, limits: PlaylistLimits) -> None:
        self.out = ["#EXTM3U"]
        self.values: list[str | datetime] = []
        self._ref, self._limits = ref, limits
        self._variables = Variables(ref, limits.max_bytes)
        self._segments = self._entries = self._tags = 0
        self._has_duration = self._is_master = self._awaits_variant = False
        self._once: set[str] = set()
        self._takes = {
            "": self._address,
            "EXTINF": self._extinf,
            "EXT-X-BYTERANGE": self._range,
            "EXT-X-DEFINE": self._define,
            "EXT-X-DISCONTINUITY": self._flag,
            "EXT-X-DISCONTINUITY-SEQUENCE": self._run,
            "EXT-X-ENDLIST": self._flag,
            "EXT-X-GAP": self._flag,
            "EXT-X-I-FRAME-STREAM-INF": self._entry,
            "EXT-X-KEY": self._list,
            "EXT-X-MAP": self._list,
            "EXT-X-MEDIA": self._entry,
            "EXT-X-MEDIA-SEQUENCE": self._sequence,
            "EXT-X-PROGRAM-DATE-TIME": self._date,
            "EXT-X-STREAM-INF": self._entry,
            "EXT-X-TARGETDURATION": self._target,
        }

    def take(self, line: Line) -> None:
        if line.tag in _UNSUPPORTED:
            raise Unsupported(f"{self._ref} {_UNSUPPORTED[line.tag]} ({line.tag})")
        if take := self._takes.get(line.tag):
            take(line)

    def _refusal(self, line: Line, why: str) -> PlaylistInvalid:
        return PlaylistInvalid(f"{self._ref}: line {line.number}: {why}")

    def _put(self, line: Line, tag: str) -> None:
        self._tags += 1
        if self._tags > _MAX_TAGS_BEFORE_ADDRESS:
            raise self._refusal(line, f"{self._tags} tags before a single address")
        self.out.append(tag)

    def _flag(self, line: Line) -> None:
        self._put(line, f"#{line.tag}")

    def _range(self, line: Line) -> None:
        self._put(line, f"#{line.tag}:{' '.join(line.value[:60].split())}")

    def _list(self, line: Line) -> None:
        self._put(line, self._numbered(line))

    def _define(self, line: Line) -> None:
        self._variables.define(attributes(line.value))

    def _numbered(self, line: Line) -> str:
        self.values.append(self._variables.fill(line.value, line.number))
        return f"#{line.tag}:{len(self.values) - 1}"

    def _entry(self, line: Line) -> None:
        self._entries += 1
        if self._entries > _MAX_ENTRIES:
            raise PlaylistInvalid(f"{self._ref} lists more than {_MAX_ENTRIES} other playlists")
        if line.tag == "EXT-X-STREAM-INF":
            if self._segments or self._has_duration:
                raise self._refusal(line, "a variant in a playlist that lists segments")
            self._is_master = self._awaits_variant = True
        self.out.append(self._numbered(line))

    def _target(self, line: Line) -> None:
        seconds = _seconds(line.value)
        if line.tag not in self._once and 0 < seconds <= self._limits.max_segment_s:
            self._once.add(line.tag)
            self.out.append(f"#{line.tag}:{ceil(seconds)}")

    def _sequence(self, line: Line) -> None:
        if line.tag in self._once:
            return
        found = _SEQUENCE.fullmatch(line.value)
        if found is None or int(found[1]) > _MAX_SEQUENCE:
            shown = line.value[:60]
            raise self._refusal(line, f"{shown!r} is no media sequence number")
        self._once.add(line.tag)
        self.out.append(f"#{line.tag}:{found[1]}")

    def _run(self, line: Line) -> None:
        """Of one that says nothing, runs are counted from its first segment on."""
        found = _SEQUENCE.fullmatch(line.value)
        if line.tag not in self._once and found and int(found[1]) <= _MAX_SEQUENCE:
            self._once.add(line.tag)
            self.out.append(f"#{line.tag}:{found[1]}")

    def _extinf(self, line: Line) -> None:
        if self._is_master:
            raise self._refusal(line, "a segment in a playlist that lists variants")
        seconds = _seconds(line.value)
        if seconds > self._limits.max_segment_s:
            raise self._refusal(line, f"a segment of {seconds:.0f} s cannot be")
        self._has_duration = True
        self._put(line, f"#EXTINF:{seconds!r},")

    def _date(self, line: Line) -> None:
        moment = _instant(line.value[:60])
        if moment is not None:
            self.values.append(moment)
            self._put(line, f"#{line.tag}:{len(self.values) - 1}")

    def _address(self, line: Line) -> None:
        if self._is_master and not self._awaits_variant:
            return
        if not self._is_master:
            self._segments += 1
            if self._segments > self._limits.max_segments:
                most = self._limits.max_segments
                raise PlaylistInvalid(f"{self._ref} lists more than {most} segments")
            if not self._has_duration:
                self.out.append("#EXTINF:0.0,")
        self._has_duration = self._awaits_variant = False
        self._tags = 0
        self.values.append(self._variables.fill(address(line.value), line.number))
        self.out.append(str(len(self.values) - 1))


def _seconds(text: str) -> float:
    """0 for what is none."""
    found = _NUMBER.match(text[:60].lstrip(' "'))
    return max(0.0, float(found[0])) if found else 0.0


def _instant(text: str) -> datetime | None:
    """ISO 8601; without a zone it is UTC. None for what is no time that a camera has seen."""
    try:
        moment = datetime.fromisoformat(text.strip(' "').upper())
        zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return zoned.astimezone(UTC) if zoned.year in _YEARS else None
    except (ValueError, OverflowError):
        return None
