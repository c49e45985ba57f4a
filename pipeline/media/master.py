"""Master Playlists as typed values (RFC 8216 4.3.4): which variant, which sound beside it.

Decides nothing about what is recorded besides naming the best variant and what falls away.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipeline.errors import PlaylistInvalid, Unsupported

_RESOLUTION = re.compile(r"(\d{1,5})\s*x\s*(\d{1,5})", re.ASCII | re.IGNORECASE)
_BANDWIDTH = re.compile(r"\d{1,15}(?:\.\d*)?(?:e\+?\d)?", re.ASCII | re.IGNORECASE)
_SHOWN = 80
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

    def ranked(self) -> tuple[Variant, ...]:
        """The highest picture, then the highest bandwidth; pictures before sound alone."""

        def quality(v: Variant) -> tuple[bool, int, int, int]:
            return not v.is_sound_only, v.height, v.width, v.bandwidth

        return tuple(sorted(self.variants, key=quality, reverse=True))

    def best(self) -> Variant:
        return self.ranked()[0]

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


def master_playlist(found: Mapping[str, Any], ref: str) -> MasterPlaylist:
    """From what m3u8 found, attributes as written. Raises ``PlaylistInvalid``, ``Unsupported``."""
    audios = tuple(_audio(media) for media in found["media"] if media.get("TYPE") == "AUDIO")
    listed = tuple(_variant(variant) for variant in found["playlists"] if variant["uri"])
    variants = listed or _sound_alone(audios)
    if not variants and found["iframe_playlists"]:
        raise Unsupported(f"{ref} names only I-frame playlists (EXT-X-I-FRAME-STREAM-INF)")
    if not variants:
        raise PlaylistInvalid(f"{ref} is a master playlist without variants")
    dropped = [
        f"{_DROPPED[media['TYPE']]} {media.get('NAME', '')[:_SHOWN]!r}"
        for media in found["media"]
        if media.get("TYPE") in _DROPPED
    ]
    dropped += ["I-frame playlist"] * bool(found["iframe_playlists"])
    return MasterPlaylist(variants=variants, audios=audios, dropped=tuple(dict.fromkeys(dropped)))


def _variant(found: Mapping[str, Any]) -> Variant:
    info: Mapping[str, str] = found["stream_info"]
    size = _RESOLUTION.fullmatch(info.get("RESOLUTION", ""))
    bandwidth = _BANDWIDTH.match(info.get("BANDWIDTH") or info.get("AVERAGE-BANDWIDTH", ""))
    return Variant(
        uri=found["uri"],
        bandwidth=int(float(bandwidth[0])) if bandwidth else 0,
        width=int(size[1]) if size else 0,
        height=int(size[2]) if size else 0,
        codecs=info.get("CODECS", ""),
        audio_group=info.get("AUDIO", ""),
    )


def _audio(media: Mapping[str, str]) -> AudioRendition:
    return AudioRendition(
        uri=media.get("URI") or None,
        group=media.get("GROUP-ID", ""),
        name=media.get("NAME", ""),
        language=media.get("LANGUAGE", ""),
        is_default=media.get("DEFAULT", "").upper() == "YES",
        channels=media.get("CHANNELS", ""),
    )


def _sound_alone(audios: tuple[AudioRendition, ...]) -> tuple[Variant, ...]:
    """A radio's master may list its renditions without any EXT-X-STREAM-INF."""
    return tuple(
        Variant(uri=a.uri, bandwidth=0, height=0, width=0, codecs="", audio_group=a.group)
        for a in sorted(audios, key=lambda audio: not audio.is_default)
        if a.uri
    )[:1]
