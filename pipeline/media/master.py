"""Master Playlists as typed values (RFC 8216 4.3.4): which variant, which sound beside it.

Decides nothing about what is recorded besides naming the best variant and what falls away.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipeline.errors import PlaylistInvalid, Unsupported

_RESOLUTION = re.compile(r"(\d+)x(\d+)")
_NO_PICTURE = re.compile(
    r"mp4a|mp3|[ae]c-[34]|opus|flac|alac|vorbis|dts[cehlxy]|samr|wvtt|stpp", re.IGNORECASE
)
_DROPPED = {
    "SUBTITLES": "subtitles",
    "CLOSED-CAPTIONS": "closed captions",
    "VIDEO": "another video",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One EXT-X-STREAM-INF: ``bandwidth`` in bit/s, sizes in pixels, 0 where it does not say.

    ``codecs`` as written (RFC 6381); ``audio_group`` empty where its sound is in it.
    """

    uri: str
    bandwidth: int
    height: int
    width: int
    codecs: str
    audio_group: str

    @property
    def is_sound_only(self) -> bool:
        """It names its codecs, and none of them makes pictures."""
        names = [codec.strip().split(".")[0] for codec in self.codecs.split(",")]
        return not self.height and all(_NO_PICTURE.fullmatch(name) for name in names)


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioRendition:
    """One EXT-X-MEDIA of TYPE=AUDIO; without ``uri`` it is the sound inside the variant."""

    uri: str | None
    group: str
    name: str
    language: str
    is_default: bool
    channels: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterPlaylist:
    """``dropped`` names for people what no recording keeps: subtitles, I-frame playlists, ..."""

    variants: tuple[Variant, ...]
    audios: tuple[AudioRendition, ...]
    dropped: tuple[str, ...] = ()

    def best(self) -> Variant:
        """The highest picture, then the highest bandwidth; pictures before sound alone."""
        return max(
            self.variants, key=lambda v: (not v.is_sound_only, v.height, v.width, v.bandwidth)
        )

    def audio_of(self, variant: Variant) -> tuple[AudioRendition, ...]:
        """The sounds of a variant, the default first, each once."""
        members = (
            replace(audio, uri=None) if audio.uri == variant.uri else audio
            for audio in self.audios
            if audio.group == variant.audio_group
        )
        each: dict[str | None, AudioRendition] = {}
        for audio in sorted(members, key=lambda audio: not audio.is_default):
            each.setdefault(audio.uri, audio)
        return tuple(each.values())


def master_playlist(data: Mapping[str, Any], ref: str) -> MasterPlaylist:
    """From what ``m3u8.parse`` found. Raises ``PlaylistInvalid``, ``Unsupported``."""
    audios = tuple(_audio(media) for media in data["media"] if media.get("type") == "AUDIO")
    variants = tuple(_variant(found) for found in data["playlists"]) or _sound_alone(audios)
    dropped = [
        f"{_DROPPED[media['type']]} {media.get('name', '')!r}"
        for media in data["media"]
        if media.get("type") in _DROPPED
    ]
    dropped += ["I-frame playlist"] * bool(data["iframe_playlists"])
    if not variants and data["iframe_playlists"]:
        raise Unsupported(f"{ref} names only I-frame playlists (EXT-X-I-FRAME-STREAM-INF)")
    if not variants:
        raise PlaylistInvalid(f"{ref} is a master playlist without variants")
    return MasterPlaylist(variants=variants, audios=audios, dropped=tuple(dict.fromkeys(dropped)))


def _variant(found: Mapping[str, Any]) -> Variant:
    info = found["stream_info"]
    size = _RESOLUTION.fullmatch(info.get("resolution", ""))
    return Variant(
        uri=found["uri"],
        bandwidth=info.get("bandwidth", 0),
        width=int(size[1]) if size else 0,
        height=int(size[2]) if size else 0,
        codecs=info.get("codecs", ""),
        audio_group=info.get("audio", ""),
    )


def _audio(media: Mapping[str, Any]) -> AudioRendition:
    return AudioRendition(
        uri=media.get("uri") or None,
        group=media.get("group_id", ""),
        name=media.get("name", ""),
        language=media.get("language", ""),
        is_default=media.get("default") == "YES",
        channels=media.get("channels", ""),
    )


def _sound_alone(audios: tuple[AudioRendition, ...]) -> tuple[Variant, ...]:
    """A radio's master may list its renditions without any EXT-X-STREAM-INF."""
    return tuple(
        Variant(uri=a.uri, bandwidth=0, height=0, width=0, codecs="", audio_group=a.group)
        for a in sorted(audios, key=lambda audio: not audio.is_default)[:1]
        if a.uri
    )
