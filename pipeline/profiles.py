"""Profiles: what is made of a recording, as ``profiles.toml`` and a file of the user's name it.

Both have the format of docs/profiles.md. ``outputs_of`` and ``sound_of`` apply a profile to what a
source begins with.
"""

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    ValidationError,
    model_validator,
)

from pipeline.errors import MediaInvalid, SettingsError, UsageError
from pipeline.model import (
    AS_IT_IS,
    EncodedPictures,
    EncodedSound,
    FirstLook,
    Form,
    Output,
    PictureForm,
    Sound,
)
from pipeline.timebase import LEAD_S

MAX_FILE_BYTES = 2**20
MAX_RENDITIONS = 10
# FFmpeg's name of an encoder, and of what it makes.
ENCODERS = {
    "libx264": "h264",
    "libx265": "hevc",
    "libsvtav1": "av1",
    "h264_nvenc": "h264",
    "hevc_nvenc": "hevc",
    "av1_nvenc": "av1",
}
# Set from other keys, or by how chunks are encoded apart and joined; or they name files to write.
OWNED_OPTIONS = frozenset(
    {
        *("threads", "flags", "maxrate", "bufsize"),
        *("g", "sc_threshold", "no-scenecut", "forced-idr", "force_key_frames"),
        *("x264-params", "x264opts", "x265-params", "svtav1-params"),
        *("stats", "passlogfile"),
    }
)
# The largest pictures of level 6.2 of H.264 and HEVC.
_MOST_WIDTH, _MOST_HEIGHT = 8192, 4320
# An encoder that aims at a bit rate is off by some of it, and packets in MPEG-TS carry headers.
_NEAR_ENOUGH = 1.15
# Of sound that is encoded again, in bit/s.
_NEARLY_LOSSLESS = 320_000
_MOST_PROBLEMS = 5
_MOST_DESCRIPTION_CHARS = 200
_MOST_OPTIONS = 32
_MOST_OPTION_CHARS = 256

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
# What else lies beside a recording, or is a rendition that no profile names.
_TAKEN = re.compile(r"source|poster|storyboard|master|live|audio-[0-9]+")
_BIT_RATE = re.compile(r"([0-9]{1,10}(?:\.[0-9]{1,3})?)([kM]?)")
_UNIT_BITS = {"": 1, "k": 1000, "M": 1_000_000}
_FRAME_RATE = re.compile(r"[0-9]{1,7}(?:\.[0-9]{1,6}|/[1-9][0-9]{0,6})?")
_OPTION = re.compile(r"[a-z0-9_-]{1,64}")


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("must be up to 32 of a-z, 0-9, - and _, a letter or digit first")
    if _TAKEN.fullmatch(name):
        raise ValueError(f"{name} is the name of something else")
    return name


def _check_description(text: str) -> str:
    if len(text) > _MOST_DESCRIPTION_CHARS or not text.isprintable():
        raise ValueError(f"must be one line of at most {_MOST_DESCRIPTION_CHARS} characters")
    return text


def _check_encoder(name: str) -> str:
    if name not in ENCODERS:
        raise ValueError(f"{name[:80]!r} is no encoder. Encoders: {', '.join(ENCODERS)}")
    return name


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _parse_bit_rate(value: object) -> object:
    match = _BIT_RATE.fullmatch(str(value)) if _is_number(value) or isinstance(value, str) else None
    if match is None:
        raise ValueError("is no bit rate such as 128k, 3M or 800000")
    return round(Fraction(match[1]) * _UNIT_BITS[match[2]])


def _parse_frame_rate(value: object) -> Fraction:
    text = str(value) if _is_number(value) or isinstance(value, str) else ""
    if not _FRAME_RATE.fullmatch(text) or not 1 <= Fraction(text) <= 120:
        raise ValueError('is no frame rate from 1 to 120 such as 25, 29.97 or "30000/1001"')
    return Fraction(text)


def _parse_options(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping):
        raise ValueError('must be a table such as { preset = "faster" }')  # noqa: TRY004 - pydantic's
    if len(value) > _MOST_OPTIONS:
        raise ValueError(f"has more than {_MOST_OPTIONS} entries")
    return tuple((_check_option(name), _option_text(name, each)) for name, each in value.items())


def _check_option(name: str) -> str:
    if not _OPTION.fullmatch(name):
        raise ValueError(f"{name[:80]!r} is no name of an option")
    if name in OWNED_OPTIONS or name.startswith("keyint"):
        raise ValueError(f"{name} cannot be set: vodray sets it itself, or it writes files")
    return name


def _option_text(name: str, value: object) -> str:
    if _is_number(value) or (
        isinstance(value, str) and len(value) <= _MOST_OPTION_CHARS and value.isprintable()
    ):
        return str(value)
    raise ValueError(f"{name} must be a number, or text of at most {_MOST_OPTION_CHARS} characters")


Name = Annotated[str, AfterValidator(_check_name)]
BitRate = Annotated[int, BeforeValidator(_parse_bit_rate)]
Encoder = Annotated[str, AfterValidator(_check_encoder)]
SamplingRate = Literal[
    96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000
]


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", hide_input_in_errors=True)


class PictureSettings(_Table):
    """How pictures are encoded. ``height``: at most, None: the source's; ``max_rate`` in bit/s over
    a decoder's ``buffer`` in bits, 0: unbounded; ``frame_rate``: None: the source's own times."""

    encoder: Encoder
    height: int | None = Field(None, ge=16, le=_MOST_HEIGHT, multiple_of=2)
    frame_rate: Annotated[Fraction | None, PlainValidator(_parse_frame_rate)] = None
    gop: int = Field(250, ge=1, le=1000)
    pixel_format: Literal["yuv420p", "yuv420p10le"] = "yuv420p"
    max_rate: BitRate = Field(0, ge=1000, le=10**9)
    buffer: BitRate = Field(0, ge=1000, le=10**10)
    threads: int = Field(1, ge=1, le=32)
    options: Annotated[tuple[tuple[str, str], ...], PlainValidator(_parse_options)] = ()

    @model_validator(mode="after")
    def _must_go_together(self) -> Self:
        if self.buffer and not self.max_rate:
            raise ValueError("buffer says nothing without max_rate")
        if self.encoder.endswith("_nvenc") and self.pixel_format != "yuv420p":
            raise ValueError(f"{self.encoder} makes yuv420p only")
        return self

    def encoded(self, shape: PictureForm) -> EncodedPictures:
        """For a source whose pictures have this shape."""
        width, height = _size(self.height, shape)
        return EncodedPictures(
            encoder=self.encoder,
            width=width,
            height=height,
            frame_rate=self.frame_rate,
            pixel_format=self.pixel_format,
            gop=self.gop,
            max_rate=self.max_rate,
            buffer_size=self.buffer or 2 * self.max_rate,
            threads=self.threads,
            options=self.options,
        )


class RenditionSettings(PictureSettings):
    """A further output, of ``height`` lines."""

    name: Name
    height: int = Field(ge=16, le=_MOST_HEIGHT, multiple_of=2)


class SoundSettings(_Table):
    """How sound is encoded: ``bit_rate`` in bit/s, ``rate`` in Hz, ``channels`` at most. ``keep``:
    not if it has the codec already, whatever else it is like. ``loudness``: what it is brought to,
    in LUFS; None: left as loud as it is."""

    codec: Literal["aac"] = "aac"
    bit_rate: BitRate = Field(ge=8000, le=512_000)
    rate: SamplingRate = 48000
    channels: int = Field(2, ge=1, le=8)
    keep: bool = False
    loudness: float | None = Field(None, ge=-40, le=-5)

    @model_validator(mode="after")
    def _must_go_together(self) -> Self:
        if self.keep and self.loudness is not None:
            raise ValueError("what keep copies keeps its loudness: only one of them can be set")
        return self


def _tag(value: object) -> str:
    return "table" if isinstance(value, Mapping | PictureSettings) else "word"


Pictures = Annotated[
    Annotated[Literal["copy", "none"], Tag("word")] | Annotated[PictureSettings, Tag("table")],
    Discriminator(_tag),
]


class Profile(_Table):
    """``pictures``: of the main output, as they are (``copy``), left out, or encoded;
    ``renditions``: the outputs below it; ``sound``: None: as it is."""

    name: Name
    description: Annotated[str, AfterValidator(_check_description)] = ""
    pictures: Pictures = "copy"
    renditions: tuple[RenditionSettings, ...] = Field((), strict=False, max_length=MAX_RENDITIONS)
    sound: SoundSettings | None = None

    @property
    def rendition(self) -> str:
        """Of the main output."""
        return AS_IT_IS.rendition if self.pictures == "copy" else self.name

    @property
    def name_suffix(self) -> str:
        """Of the main output's object."""
        return ".m4a" if self.pictures == "none" else AS_IT_IS.name_suffix

    @property
    def encoders(self) -> tuple[str, ...]:
        """Of pictures, each once."""
        main = [self.pictures] if isinstance(self.pictures, PictureSettings) else []
        return tuple(dict.fromkeys(each.encoder for each in (*main, *self.renditions)))

    @model_validator(mode="after")
    def _renditions_must_differ(self) -> Self:
        if self.renditions and self.pictures == "none":
            raise ValueError("there are no renditions without pictures")
        names = [self.rendition, *(each.name for each in self.renditions)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two renditions have the name {twice}")
        return self


def load_profiles(path: Path | None) -> Mapping[str, Profile]:
    """The built-in profiles by name; those of the file ``path`` replace or join them.

    Raises ``SettingsError`` that names the file, the profile and the key.
    """
    return _built_in() | ({} if path is None else _parse(str(path), _read(path)))


def find_profile(name: str, profiles: Mapping[str, Profile]) -> Profile:
    """Raises ``UsageError`` that names the profiles there are."""
    found = profiles.get(name)
    if found is None:
        raise UsageError(
            f"There is no profile {name[:80]!r}", f"Profiles: {', '.join(sorted(profiles))}"
        )
    return found


def outputs_of(
    profile: Profile, look: FirstLook, *, sound_apart: bool = False
) -> tuple[Output, ...]:
    """What is made of a stream that begins like this, the main output first.

    ``sound_apart``: playlists of their own hold its sound. Raises ``MediaInvalid`` where nothing
    would be left.
    """
    if profile.pictures == "none":
        if not look.form.audio and not sound_apart:
            raise MediaInvalid("The stream has no sound", f"Profile {profile.name} keeps only that")
        return (_sound_only(profile),)
    if look.pictures is None:
        # Copied pictures may still come later; encoded ones would need a size.
        return (AS_IT_IS if profile.pictures == "copy" else _sound_only(profile),)
    shape, pictures = look.pictures, None
    if profile.pictures != "copy":
        pictures = profile.pictures.encoded(shape)
    top = pictures.height if pictures else shape.height
    lower = (
        Output(rendition=each.name, pictures=each.encoded(shape), has_sound=False)
        for each in profile.renditions
        if each.height < top
    )
    return (Output(rendition=profile.rendition, pictures=pictures), *lower)


def outputs_for(
    profile: Profile, look: FirstLook, sounds: Sequence[Sound] = ()
) -> tuple[Output, ...]:
    """``outputs_of`` a stream with these playlists of sound of its own, with how all its sound is
    encoded: if one has to be, all are. Pictures of a constant rate are in step with its first one.
    """
    outputs = outputs_of(profile, look, sound_apart=bool(sounds))
    main, *lower = (_in_step(output, look) for output in outputs)
    looks = [replace(look, form=sound.form, streams=(), sound_bits_per_s=0.0) for sound in sounds]
    asked = profile.sound
    has_loudness = asked is not None and asked.loudness is not None
    if has_loudness or (look.form.audio and not _is_encoded_anyway(look)):
        looks.append(look)
    wanted = (sound_of(profile, each) for each in looks)
    return (replace(main, sound=next(filter(None, wanted), None)), *lower)


def form_for(profile: Profile, look: FirstLook) -> Form:
    """What its media is made to before anything else: sound that cannot be copied is encoded once,
    as the profile says; with a loudness once more, for which this is nearly lossless."""
    wanted = sound_of(profile, look)
    if wanted is None or not _is_encoded_anyway(look):
        return look.form
    return replace(
        look.form,
        audio=wanted.codec,
        audio_rate=wanted.rate,
        audio_channels=min(look.form.audio_channels, wanted.channels),
        audio_bit_rate=wanted.bit_rate if wanted.loudness is None else _NEARLY_LOSSLESS,
    )


def _is_encoded_anyway(look: FirstLook) -> bool:
    """Whether its sound has a codec that no recording keeps."""
    return bool(look.form.audio) and _sound_codec(look) != look.form.audio


def _in_step(output: Output, look: FirstLook) -> Output:
    pictures = output.pictures
    if pictures is None or pictures.frame_rate is None:
        return output
    first_s = look.shown_s - look.anchor_s + LEAD_S
    return replace(output, pictures=replace(pictures, phase_s=first_s % (1 / pictures.frame_rate)))


def sound_of(profile: Profile, look: FirstLook) -> EncodedSound | None:
    """How the sound of a playlist that begins like this is encoded, None: not at all.

    Where no sound is there yet, nothing is known to be good enough.
    """
    asked = profile.sound
    if asked is None or _is_good_enough(asked, look):
        return None
    return EncodedSound(
        codec=asked.codec,
        bit_rate=asked.bit_rate,
        rate=asked.rate,
        channels=asked.channels,
        loudness=asked.loudness,
    )


def _is_good_enough(asked: SoundSettings, look: FirstLook) -> bool:
    form = look.form
    # Only sound that is encoded can be made louder or softer.
    if asked.loudness is not None or _sound_codec(look) != asked.codec:
        return False
    return asked.keep or (
        form.audio_rate == asked.rate
        and form.audio_channels <= asked.channels
        and look.sound_bits_per_s <= _NEAR_ENOUGH * asked.bit_rate
    )


def _sound_codec(look: FirstLook) -> str:
    """Of the source's first sound: ``Form`` names what it becomes."""
    sounds = (stream for stream in look.streams if stream.endswith(" audio"))
    return next(sounds, look.form.audio).removesuffix(" audio")


def _sound_only(profile: Profile) -> Output:
    return Output(rendition=profile.rendition, name_suffix=profile.name_suffix, has_pictures=False)


def _size(height: int | None, shape: PictureForm) -> tuple[int, int]:
    """Even, in the shape that is shown, not larger than the source or than any decoder takes."""
    shown, lines = max(shape.shown_width, 1), shape.height
    wanted = min(height or lines, lines, _MOST_HEIGHT) & ~1
    scale = min(Fraction(wanted, lines), Fraction(_MOST_WIDTH, shown))
    width = min(2 * round(shown * scale / 2), shown & ~1)
    return max(width, 2), max(int(lines * scale) & ~1, 2)


@cache
def _built_in() -> dict[str, Profile]:
    return _parse("profiles.toml", (files("pipeline") / "profiles.toml").read_bytes())


def _read(path: Path) -> bytes:
    # Nothing that waits for a writer, or never ends.
    if not path.is_file():
        raise SettingsError(f"There is no file {path}")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror or error}") from error
    if len(data) > MAX_FILE_BYTES:
        raise SettingsError(f"{path}: larger than {MAX_FILE_BYTES} bytes")
    return data


def _parse(file: str, data: bytes) -> dict[str, Profile]:
    try:
        tables = tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SettingsError(f"{file}: not UTF-8 (at line {line})") from error
    except RecursionError as error:
        raise SettingsError(f"{file}: nested too deeply") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file}: {error}") from error
    except ValueError as error:
        raise SettingsError(f"{file}: holds a number that is too large") from error
    found: dict[str, Profile] = {}
    problems: list[str] = []
    for name, table in tables.items():
        try:
            found[name] = Profile.model_validate(_named(name, table))
        except ValidationError as error:
            problems += (f"profile {name[:80]}{line}" for line in _explain(error, table))
    if problems:
        raise SettingsError(f"{file}: {'; '.join(problems[:_MOST_PROBLEMS])}")
    return found


def _named(name: str, table: object) -> object:
    """A name inside the table, where none belongs, is reported as a key that there is not."""
    if not isinstance(table, Mapping):
        return table
    return {("name." if key == "name" else key): value for key, value in table.items()} | {
        "name": name
    }


_WORDS = {
    "extra_forbidden": "there is no such key",
    "missing": "is missing",
    "model_type": "must be a table",
    "tuple_type": "must be a list of tables",
}


def _explain(error: ValidationError, table: Any) -> list[str]:
    """``, rendition 720p: gop: ...`` for each problem."""
    return [
        f"{_place(problem['loc'], table)}: "
        + _WORDS.get(problem["type"], problem["msg"].removeprefix("Value error, "))
        for problem in error.errors(include_url=False, include_input=False, include_context=False)
    ]


def _place(loc: Sequence[int | str], table: Any) -> str:
    place, keys = "", list(loc)
    if keys[:1] == ["renditions"] and len(keys) > 1:
        number = keys[1]
        rendition = table["renditions"][number]
        name = rendition.get("name") if isinstance(rendition, Mapping) else None
        place = f", rendition {name[:80] if isinstance(name, str) else number}"
        keys = keys[2:]
    # Tags of a union are no keys.
    written = [str(key).removesuffix(".") for key in keys if key not in ("table", "word")]
    return place + "".join(f": {key[:80]}" for key in written)
