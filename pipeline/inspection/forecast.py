"""What each profile makes, of any stream or of one whose first segment is read. JSON."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from fractions import Fraction
from typing import Any

import av

from pipeline.begin import Seen
from pipeline.errors import SourceError
from pipeline.follow import locate
from pipeline.inspection.dry_run import first_seen
from pipeline.model import EncodedPictures, EncodedSound, FirstLook, Output
from pipeline.profiles import (
    ENCODERS,
    PictureSettings,
    Profile,
    SoundSettings,
    outputs_of,
    sound_of,
)
from pipeline.settings import Settings
from pipeline.source import Presentation, Source, open_presentation
from pipeline.uris import shown_uri

Report = dict[str, Any]

_TRANSFERS = 4


def describe_profiles(settings: Settings) -> Report:
    """What they make of any stream: what follows from the stream is null."""
    return {
        "profiles": [
            {
                **_head(profile, settings),
                "outputs": _outputs_of_any(profile),
                "sound": profile.sound and _sound(profile.sound) | {"keep": profile.sound.keep},
            }
            for profile in settings.profiles.values()
        ]
    }


def forecast(source: Source, settings: Settings) -> Report:
    """What they make of this one. Raises ``SourceError`` for what is no playlist that can be read,
    or holds no segment that can."""
    presentation = open_presentation(source)
    with ThreadPoolExecutor(_TRANSFERS) as transfers:
        segments = locate(presentation.playlist.segments, presentation.source)
        main = first_seen(segments, presentation.source, settings, transfers)
        sound = _sound_apart(presentation, settings, transfers)
    return {
        "source": _describe_source(source, main.look, sound.look if sound else main.look),
        "profiles": [
            _forecast(profile, settings, presentation, main.look, sound)
            for profile in settings.profiles.values()
        ],
    }


def encoder_problem(name: str) -> str:
    """Why nothing can be encoded with it on this machine, empty if something can."""
    try:
        av.codec.Codec(name, "w")
    except av.codec.codec.UnknownCodecError:
        return "not in this build of FFmpeg"
    if not name.endswith("_nvenc"):
        return ""
    context: Any = av.codec.CodecContext.create(name, "w")
    context.width, context.height, context.pix_fmt = 256, 256, "yuv420p"
    context.time_base = Fraction(1, 25)
    try:
        context.open()
    except av.error.FFmpegError:
        return "there is no GPU for it here"
    return ""


def _sound_apart(
    presentation: Presentation, settings: Settings, transfers: ThreadPoolExecutor
) -> Seen | None:
    """The first of its playlists of sound alone that can be read."""
    for found in presentation.sounds:
        segments = found.playlist.segments if found.playlist else ()
        with suppress(SourceError):
            return first_seen(locate(segments, found.source), found.source, settings, transfers)
    return None


def _describe_source(source: Source, look: FirstLook, sound: FirstLook) -> Report:
    shape, form = look.pictures, sound.form
    return {
        "ref": shown_uri(source.ref),
        "streams": [*look.streams, *(sound.streams if sound is not look else ())],
        "pictures": shape
        and {
            "codec": _codec(look, "video"),
            "kept_as": look.form.video,
            "width": shape.shown_width,
            "height": shape.height,
            "frame_rate": str(shape.frame_rate),
        },
        "sound": {
            "codec": _codec(sound, "audio"),
            "kept_as": form.audio,
            "rate": form.audio_rate,
            "channels": form.audio_channels,
            "bit_rate": round(sound.sound_bits_per_s),
        }
        if form.audio
        else None,
    }


def _codec(look: FirstLook, kind: str) -> str:
    """Of the first stream of that kind; ``Form`` names what it is kept as."""
    named = (each.removesuffix(f" {kind}") for each in look.streams if each.endswith(f" {kind}"))
    return next(named, "")


def _forecast(
    profile: Profile,
    settings: Settings,
    presentation: Presentation,
    look: FirstLook,
    sound: Seen | None,
) -> Report:
    made: Sequence[Output] = ()
    head = _head(profile, settings)
    try:
        made = outputs_of(profile, look, sound_apart=bool(presentation.sounds))
    except SourceError as error:
        head["problem"] = str(error)
    encoded = sound_of(profile, sound.look if sound else look)
    has_sound = bool(look.form.audio or presentation.sounds)
    return {
        **head,
        "outputs": [_output(output, look, has_sound=has_sound) for output in made],
        "sound": encoded and _sound(encoded),
    }


def _head(profile: Profile, settings: Settings) -> Report:
    problems = {name: encoder_problem(name) for name in profile.encoders}
    return {
        "profile": profile.name,
        "description": profile.description,
        "is_default": profile.name == settings.profile,
        "problem": "; ".join(f"{name}: {why}" for name, why in problems.items() if why) or None,
    }


def _outputs_of_any(profile: Profile) -> list[Report]:
    main: Report | str | None = None
    if isinstance(profile.pictures, PictureSettings):
        main = _any_pictures(profile.pictures)
    elif profile.pictures == "copy":
        main = "copy"
    object_name = f"{{name}}{profile.name_suffix}"
    return [
        {"rendition": profile.rendition, "object": object_name, "pictures": main, "sound": True},
        *(
            {
                "rendition": each.name,
                "object": f"{{name}}/{each.name}.mp4",
                "pictures": _any_pictures(each),
                "sound": False,
            }
            for each in profile.renditions
        ),
    ]


def _output(output: Output, look: FirstLook, *, has_sound: bool) -> Report:
    pictures: Report | str | None = None
    if output.pictures is not None:
        pictures = _pictures(output.pictures)
    elif output.has_pictures and look.pictures is not None:
        pictures = "copy"
    is_main = output.has_sound
    return {
        "rendition": output.rendition,
        "object": f"{{name}}{'' if is_main else '/' + output.rendition}{output.name_suffix}",
        "pictures": pictures,
        "sound": has_sound and output.has_sound,
    }


def _any_pictures(asked: PictureSettings) -> Report:
    return _encoding(asked) | {"width": None, "height": asked.height}


def _pictures(made: EncodedPictures) -> Report:
    return _encoding(made) | {"width": made.width, "height": made.height}


def _encoding(given: PictureSettings | EncodedPictures) -> Report:
    return {
        "encoder": given.encoder,
        "codec": ENCODERS[given.encoder],
        "frame_rate": given.frame_rate and str(given.frame_rate),
        "max_rate": given.max_rate or None,
        "pixel_format": given.pixel_format,
        "gop": given.gop,
        "options": dict(given.options),
    }


def _sound(given: SoundSettings | EncodedSound) -> Report:
    return {
        "codec": given.codec,
        "bit_rate": given.bit_rate,
        "rate": given.rate,
        "channels": given.channels,
        "loudness": given.loudness,
    }
