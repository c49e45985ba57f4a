"""``vodray verify`` and FFmpeg on a recording of several outputs: pictures and sounds in their own
fragments, a lower rendition beside its playlist, sound alone."""

import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import pytest
from click.testing import CliRunner

from pipeline.media import hls, stitch
from pipeline.media.interleave import Body, interleave
from pipeline.media.remux import Input, remux
from pipeline.media.sniff import Kind
from pipeline.media.spans import body_of
from pipeline.media.split import split
from pipeline.media.timeline import PlacedSpan
from pipeline.model import Sound
from serve_app.cli import main
from tests import media

SECONDS, GOP = 20, 40
SOUNDS = [Sound(name="Main", language="en"), Sound(language="de")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Object:
    """What is known of an object: its playlists by what they are of."""

    placed: list[list[PlacedSpan]]
    tracks: list[stitch.Track]
    base: int


def bodies(folder: Path, *, height: int, sounds: int) -> list[Body]:
    path = folder / f"{height}-{sounds}.ts"
    sources = [f"testsrc=size={height * 16 // 9}x{height}:rate=25"] * bool(height)
    sources += ["sine=440", "sine=880"][:sounds]
    inputs = [part for source in sources for part in ("-f", "lavfi", "-i", source)]
    maps = [part for number in range(len(sources)) for part in ("-map", str(number))]
    encoded = ["-c:v", "libx264", "-g", str(GOP), "-keyint_min", str(GOP), "-sc_threshold", "0"]
    media.ffmpeg(*inputs, *maps, *encoded, "-c:a", "aac", "-t", str(SECONDS), path)
    given = Input(kind=Kind.TS, segments=(path.read_bytes(),), anchor_s=0, near_s=0.0)
    return split(body_of(remux(given)))


def write(path: Path, made: Sequence[Body]) -> Object:
    """An object of one chunk, as the stitch lays it out."""
    spans, pieces = interleave([[body] for body in made])
    placed = [
        [PlacedSpan(chunk=0, span=span, shift_s=Fraction(0), jump_s=0.0, new_run=False)]
        for span in spans
    ]
    body = b"".join(pieces)
    merged = stitch.merge([p for own in placed for p in own])
    tracks = [own.track for own in merged]
    head = stitch.build_head(merged, {0: 0}, len(body))
    path.write_bytes(head + body)
    return Object(placed=placed, tracks=tracks, base=len(head))


def put(folder: Path, name: str, playlist: hls.MediaPlaylist, uri: str, init: str = "") -> None:
    names = [init or f"{name}.init.mp4"]
    (folder / names[0]).write_bytes(playlist.inits[0])
    (folder / f"{name}.m3u8").write_text(playlist.render(uri, names))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``720p.mp4`` with two sounds, and its lower rendition ``720p/720p.mp4``."""
    top = tmp_path_factory.mktemp("outputs")
    folder = top / "720p"
    folder.mkdir()
    main_object = write(top / "720p.mp4", bodies(top, height=144, sounds=2))
    low = write(folder / "720p.mp4", bodies(top, height=72, sounds=0))
    cuts = hls.common_cuts([main_object.placed[0], low.placed[0]])
    pictures, *sounds = (
        hls.segment_ranges(placed, {0: main_object.base}, cuts) for placed in main_object.placed
    )
    lower = hls.segment_ranges(low.placed[0], {0: low.base}, cuts)
    keyframes = hls.keyframe_ranges(low.placed[0], {0: low.base})
    put(folder, "best", pictures, "../720p.mp4")
    put(folder, "720p", lower, "720p.mp4")
    put(folder, "720p.keyframes", keyframes, "720p.mp4", "720p.init.mp4")
    for number, sound in enumerate(sounds, 1):
        put(folder, f"audio-{number}", sound, "../720p.mp4")
    variants = [
        hls.describe_variant("best.m3u8", [pictures, *sounds], main_object.tracks),
        hls.describe_variant("720p.m3u8", [lower, *sounds], [*low.tracks, *main_object.tracks[1:]]),
        hls.describe_keyframes("720p.keyframes.m3u8", keyframes, low.tracks[0]),
    ]
    members = [(f"audio-{n}.m3u8", sound) for n, sound in enumerate(SOUNDS, 1)]
    (folder / "master.m3u8").write_text(hls.render_master(variants, members))
    return top


def verified(path: Path) -> dict[str, object]:
    found = CliRunner().invoke(main, ["verify", str(path), "--json"])
    assert found.exit_code == 0, found.output
    told: dict[str, object] = json.loads(found.stdout)
    return told


def test_an_object_with_sounds_of_its_own_and_its_lower_rendition(recorded: Path) -> None:
    best = verified(recorded / "720p.mp4")
    assert best["tracks"] == ["video", "audio", "audio"]
    low = verified(recorded / "720p" / "720p.mp4")
    assert low["tracks"] == ["video"]
    playlist = (recorded / "720p" / "720p.m3u8").read_text()
    assert low["hls_ranges"] == playlist.count("#EXTINF") == low["keyframes_decoded"]
    sounds = sum((recorded / "720p" / f"audio-{n}.m3u8").read_text().count("INF:") for n in (1, 2))
    assert best["hls_ranges"] == playlist.count("#EXTINF") + sounds


def test_playlists_that_leave_out_a_sound_are_not_enough(recorded: Path, tmp_path: Path) -> None:
    (tmp_path / "720p.mp4").symlink_to(recorded / "720p.mp4")
    (tmp_path / "720p").mkdir()
    for path in (recorded / "720p").iterdir():
        (tmp_path / "720p" / path.name).symlink_to(path)
    assert verified(tmp_path / "720p.mp4")["verified"]
    (tmp_path / "720p" / "audio-2.m3u8").unlink()
    found = CliRunner().invoke(main, ["verify", str(tmp_path / "720p.mp4")])
    assert found.exit_code == 1
    assert "do not hold the same bytes" in found.stderr
    (tmp_path / "720p" / "best.m3u8").unlink()
    (tmp_path / "720p" / "audio-1.m3u8").unlink()
    # Those that are left are of another object, which is there.
    assert verified(tmp_path / "720p.mp4")["hls_ranges"] is None
    (tmp_path / "720p" / "720p.mp4").unlink()
    found = CliRunner().invoke(main, ["verify", str(tmp_path / "720p.mp4")])
    assert "720p.m3u8 does not name 720p.mp4 but 720p.mp4" in found.stderr


def test_sound_alone(tmp_path: Path) -> None:
    (tmp_path / "talk").mkdir()
    made = write(tmp_path / "talk.m4a", bodies(tmp_path, height=0, sounds=2))
    playlists = [hls.segment_ranges(placed, {0: made.base}) for placed in made.placed]
    for number, playlist in enumerate(playlists, 1):
        put(tmp_path / "talk", f"audio-{number}", playlist, "../talk.m4a")
    variant = hls.describe_variant("audio-1.m3u8", playlists, made.tracks)
    members = [(f"audio-{n}.m3u8", sound) for n, sound in enumerate(SOUNDS, 1)]
    master = hls.render_master([variant], members)
    assert "RESOLUTION" not in master
    (tmp_path / "talk" / "master.m3u8").write_text(master)
    told = verified(tmp_path / "talk.m4a")
    assert told["tracks"] == ["audio", "audio"]
    assert told["hls_ranges"] == sum(len(playlist.segments) for playlist in playlists)
    for path in (tmp_path / "talk.m4a", tmp_path / "talk" / "master.m3u8"):
        assert media.decode_complaints(path) == ""


def test_ffmpeg_plays_all_of_it_by_the_master_playlist(recorded: Path) -> None:
    master = recorded / "720p" / "master.m3u8"
    assert media.decode_complaints(master) == ""
    streams: dict[int, list[str]] = {}
    for packet in media.packets(master):
        streams.setdefault(packet.stream, []).append(packet.digest)
    wanted: dict[tuple[Path, int], list[str]] = {}
    for path in (recorded / "720p.mp4", recorded / "720p" / "720p.mp4"):
        for packet in media.packets(path):
            wanted.setdefault((path, packet.stream), []).append(packet.digest)
    assert sorted(streams.values()) == sorted(wanted.values())


def test_segments_of_all_renditions_begin_together(recorded: Path) -> None:
    starts = []
    for name in ("best", "720p", "audio-1"):
        text = (recorded / "720p" / f"{name}.m3u8").read_text()
        lengths = [float(found) for found in re.findall(r"EXTINF:([\d.]+)", text)]
        starts.append([sum(lengths[:n]) for n in range(len(lengths))])
    assert starts[0] == pytest.approx(starts[1], abs=0.005)
    assert starts[0] == pytest.approx(starts[2], abs=0.1)


def test_a_keyframe_is_decoded_from_its_range(recorded: Path) -> None:
    folder = recorded / "720p"
    data, init = (folder / "720p.mp4").read_bytes(), (folder / "720p.init.mp4").read_bytes()
    text = (folder / "720p.keyframes.m3u8").read_text()
    assert "#EXT-X-I-FRAMES-ONLY\n" in text
    lengths = [float(found) for found in re.findall(r"EXTINF:([\d.]+)", text)]
    assert lengths == pytest.approx([GOP / 25] * (len(lengths) - 1) + [lengths[-1]])
    assert sum(lengths) == pytest.approx(SECONDS, abs=0.05)
    for size, offset in re.findall(r"BYTERANGE:(\d+)@(\d+)", text):
        piece = data[int(offset) : int(offset) + int(size)]
        with av.open(io.BytesIO(init + piece), format="mp4") as source:
            packet = next(source.demux(video=0))
            assert packet.is_keyframe
            assert bytes(packet) == piece[-packet.size :]
            (picture,) = [*packet.decode(), *source.streams.video[0].codec_context.decode(None)]
            assert (picture.width, picture.height) == (128, 72)
