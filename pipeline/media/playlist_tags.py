"""What ``m3u8`` asks us about a tag, because it would get it wrong itself (RFC 8216 4.3.2).

It holds one key where several may be in force, looks each up among all before (quadratic with key
rotation), fails on attributes of EXT-X-MAP that it does not know, and lets dates run on for ever.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline.media.playlist_text import attributes
from pipeline.model import ByteRange, InitSection, SegmentKey

_IV = re.compile(r"(?:0x)?([0-9a-f]{1,64})", re.IGNORECASE)
_RANGE = re.compile(r'"?(\d{1,18})(?: ?@ ?(\d{1,18}))?"?', re.ASCII)
IDENTITY = "identity"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cipher:
    """The key in force; ``iv`` as written, 32 hex digits, or empty. ``problem``: why it is none.

    ``covers_init``: the whole resource is encrypted, an initialization section too.
    """

    uri: str = ""
    iv: str = ""
    problem: str = ""
    covers_init: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Init:
    """The initialization section in force, or why there is none."""

    section: InitSection | None = None
    problem: str = ""


class Tags:
    """A ``custom_tags_parser`` of m3u8: it leaves ``Cipher``, ``Init`` and dates in its state."""

    def __init__(self, values: Sequence[str | datetime]) -> None:
        self._values = values
        self._keys: dict[str, Mapping[str, str]] = {}
        self._cipher: Cipher | None = None

    def __call__(
        self, line: str, _lineno: int, data: dict[str, Any], state: dict[str, Any]
    ) -> bool:
        """Whether the line is done with."""
        tag, _, number = line.partition(":")
        if tag == "#EXT-X-PROGRAM-DATE-TIME":
            state["program_date_time"] = self._values[int(number)]
        elif tag == "#EXT-X-KEY":
            state["current_key"] = self._cipher = self._key(self._list(number))
        elif tag == "#EXT-X-MAP":
            found = self._list(number)
            if found.get("URI"):
                state["current_segment_map"] = _init(found, self._cipher)
        elif tag == "#EXT-X-STREAM-INF":
            data["is_variant"] = state["expect_playlist"] = True
            state["stream_info"] = self._list(number)
        elif tag == "#EXT-X-MEDIA":
            data["media"].append(self._list(number))
        elif tag == "#EXT-X-I-FRAME-STREAM-INF":
            data["iframe_playlists"].append(self._list(number))
        else:
            return False
        return True

    def _list(self, number: str) -> dict[str, str]:
        return attributes(str(self._values[int(number)]))

    def _key(self, found: Mapping[str, str]) -> Cipher | None:
        if found.get("METHOD", "").upper() == "NONE":
            self._keys.clear()
            return None
        self._keys[found.get("KEYFORMAT", "").lower() or IDENTITY] = found
        return _cipher(self._keys.get(IDENTITY) or next(iter(self._keys.values())))


def _cipher(found: Mapping[str, str]) -> Cipher:
    method, form = found.get("METHOD", "")[:40], found.get("KEYFORMAT", "")[:80]
    iv, uri = found.get("IV", ""), found.get("URI", "")
    digits = _IV.fullmatch(iv)
    problem = ""
    if not method:
        problem = "it is encrypted, but its EXT-X-KEY names no method"
    elif method.upper() != "AES-128":
        problem = f"it is encrypted with {method}, which is not supported"
    elif form.lower() not in ("", IDENTITY):
        problem = f"it is encrypted with {method} and a key of the format {form}, not supported"
    elif not uri:
        problem = "it is encrypted, but its EXT-X-KEY names no key (URI)"
    elif iv and (digits is None or int(digits[1], 16) >= 2**128):
        problem = f"it is encrypted, but its IV {iv[:60]!r} is no 128-bit number"
    return Cipher(
        uri=uri,
        iv=f"{int(digits[1], 16):032x}" if digits and not problem else "",
        problem=problem,
        covers_init=not method.upper().startswith("SAMPLE-AES"),
    )


def _init(found: Mapping[str, str], cipher: Cipher | None) -> Init:
    encrypted = cipher if cipher is not None and cipher.covers_init else None
    if encrypted is not None and encrypted.problem:
        return Init(problem=f"its initialization section cannot be read: {encrypted.problem}")
    written = found.get("BYTERANGE")
    byte_range = parse_range(written, 0) if written is not None else None
    if written is not None and byte_range is None:
        return Init(problem=f"{written[:60]!r} is no byte range of an initialization section")
    key = SegmentKey(uri=encrypted.uri, iv=encrypted.iv) if encrypted is not None else None
    return Init(section=InitSection(uri=found["URI"], byte_range=byte_range, key=key))


def parse_range(text: str, follows: int | None) -> ByteRange | None:
    """``length[@offset]``; without an offset it follows the range before (RFC 8216 4.3.2.2).

    None where it cannot be meant, or what it follows is not known.
    """
    found = _RANGE.fullmatch(text.strip())
    if found is None or int(found[1]) == 0:
        return None
    offset = int(found[2]) if found[2] is not None else follows
    return None if offset is None else ByteRange(offset=offset, length=int(found[1]))
