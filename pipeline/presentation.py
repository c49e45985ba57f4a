"""The HLS files of a finished recording: playlists and init segments over its objects."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.assemble import Assembly
from pipeline.media import hls
from pipeline.media.pieces import hls_lane
from pipeline.media.stitch import Track
from pipeline.model import Output, Rendition, Sound

PLAYLIST_TYPE = "application/vnd.apple.mpegurl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One output as it is made. ``key``: of its object; ``media_uri``: that, relative to the
    playlists."""

    output: Output
    key: str
    media_uri: str
    assembly: Assembly


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """``name``: below the recording's."""

    name: str
    data: bytes
    content_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Presentation:
    """``renditions``: as users see them, the main one first."""

    files: tuple[File, ...]
    renditions: tuple[Rendition, ...]


def present(made: Sequence[Made], sounds: Sequence[Sound], bucket: str) -> Presentation:
    """``made``: the main output, which has all sound, first. ``sounds``: the playlists of sound
    alone of the source."""
    main = made[0]
    first, *others = sorted(main.assembly.playlists)
    playlists = main.assembly.playlists
    names = {lane: f"audio-{number}" for number, lane in enumerate(others, 1)}
    names[first] = main.output.rendition
    files = [file for lane in (first, *others) for file in _media(main, lane, names[lane])]
    group = others if _has_pictures(main) or not others else [first, *others]
    heard = [playlists[lane] for lane in others]
    of_sound = [track for track in main.assembly.tracks if track.form.kind == "audio"]
    variants: list[hls.Variant] = []
    keyframes: list[hls.Variant] = []
    renditions: list[Rendition] = []
    for number, own in enumerate(made):
        lane = min(own.assembly.playlists)
        name = own.output.rendition
        if number:
            files += _media(own, lane, name)
        variant = hls.describe_variant(
            f"{name}.m3u8",
            [own.assembly.playlists[lane], *heard],
            _tracks(own.assembly.tracks, of_sound),
        )
        variants.append(variant)
        renditions.append(_rendition(own, variant, bucket))
        keyframes += _keyframes(own, files)
    members = [(f"{names[lane]}.m3u8", _sound(playlists[lane], lane, sounds)) for lane in group]
    master = hls.render_master([*variants, *keyframes], members)
    files.append(File(name="master.m3u8", data=master.encode(), content_type=PLAYLIST_TYPE))
    return Presentation(files=tuple(files), renditions=tuple(renditions))


def _has_pictures(made: Made) -> bool:
    return any(track.form.kind == "video" for track in made.assembly.tracks)


def _tracks(own: Sequence[Track], of_sound: Sequence[Track]) -> list[Track]:
    """What is played with a variant."""
    return [*(track for track in own if track.form.kind != "audio"), *of_sound]


def _sound(playlist: hls.MediaPlaylist, lane: tuple[int, int], known: Sequence[Sound]) -> Sound:
    """``lane``: see ``pieces.HlsLane``."""
    of_source = known[lane[0] - 1] if 0 < lane[0] <= len(known) else None
    return hls.named_sound(playlist.inits[0], of_source)


def _media(made: Made, lane: tuple[int, int], name: str) -> Iterator[File]:
    playlist = made.assembly.playlists[lane]
    inits = _init_names(name, playlist)
    for uri, init in zip(inits, playlist.inits, strict=True):
        yield File(name=uri, data=init, content_type="video/mp4")
    yield _playlist(name, playlist, made, inits)


def _init_names(name: str, playlist: hls.MediaPlaylist) -> list[str]:
    count = len(playlist.inits)
    return [f"{name}.init.mp4", *(f"{name}.init-{n}.mp4" for n in range(1, count))]


def _playlist(name: str, playlist: hls.MediaPlaylist, made: Made, inits: Sequence[str]) -> File:
    text = playlist.render(made.media_uri, inits)
    return File(name=f"{name}.m3u8", data=text.encode(), content_type=PLAYLIST_TYPE)


def _keyframes(made: Made, files: list[File]) -> Iterator[hls.Variant]:
    """Adds its playlist of keyframes, where pictures have fragments of their own: players take no
    sound beside them (RFC 8216 4.3.3.6)."""
    lane = min(made.assembly.playlists)
    own = [p for p in made.assembly.placed if hls_lane(p.span) == lane]
    if any(track.kind != "video" for p in own for track in p.span.tracks):
        return
    playlist = hls.keyframe_ranges(own, made.assembly.object_offset)
    if not playlist.segments:
        return
    name = f"{made.output.rendition}.keyframes"
    files.append(_playlist(name, playlist, made, _init_names(made.output.rendition, playlist)))
    yield hls.describe_keyframes(f"{name}.m3u8", playlist, made.assembly.tracks[0])


def _rendition(made: Made, variant: hls.Variant, bucket: str) -> Rendition:
    return Rendition(
        name=made.output.rendition,
        file_path=f"{bucket}/{made.key}",
        codecs=variant.codecs,
        bandwidth=variant.bandwidth,
        average_bandwidth=variant.average_bandwidth,
        width=variant.width or None,
        height=variant.height or None,
        frame_rate=round(variant.frame_rate, 3) or None,
    )
