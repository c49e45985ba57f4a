"""Profiles: what the file may say, and what each makes of a stream."""

import json
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from pipeline import profiles
from pipeline.errors import MediaInvalid, SettingsError, UsageError
from pipeline.inspection.forecast import encoder_problem
from pipeline.model import (
    AS_IT_IS,
    EncodedPictures,
    EncodedSound,
    FirstLook,
    Form,
    Output,
    PictureForm,
)
from pipeline.profiles import (
    ENCODERS,
    OWNED_OPTIONS,
    PictureSettings,
    Profile,
    find_profile,
    form_for,
    load_profiles,
    outputs_for,
    outputs_of,
    sound_of,
)
from pipeline.stores.catalog_json import OUTPUT
from serve_app import cli
from tests.hazards.streams import SMALL
from tests.media_fixtures import Clips

DOCS = (Path(__file__).parents[2] / "docs" / "profiles.md").read_text("utf-8")
X264 = (("preset", "faster"), ("crf", "23"))
AAC = EncodedSound(codec="aac", bit_rate=128_000, rate=48_000, channels=2)
SOUND = {"audio": "aac", "audio_rate": 48_000, "audio_channels": 2}

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str) -> Path:
        path = tmp_path / "profiles.toml"
        path.write_text(text, "utf-8")
        return path

    return written


def built_in(name: str) -> Profile:
    return load_profiles(None)[name]


def profile(text: str, write: Write) -> Profile:
    return load_profiles(write(f"[web]\n{text}"))["web"]


def refusal(path: Path) -> str:
    with pytest.raises(SettingsError) as caught:
        load_profiles(path)
    return str(caught.value).removeprefix(f"{path}: ")


def look(
    width: int = 1280, height: int = 720, aspect: Fraction = Fraction(1), **form: Any
) -> FirstLook:
    """``width`` 0: sound alone."""
    form = {"video": "h264" if width else "", **SOUND, **form}
    kinds = {"video": form["video"], "audio": form["audio"]}
    return FirstLook(
        begin_s=0.0,
        wraps=True,
        streams=tuple(f"{codec} {kind}" for kind, codec in kinds.items() if codec),
        bytes_per_s=1e6,
        form=Form(**form),
        pictures=PictureForm(width=width, height=height, aspect=aspect) if width else None,
        sound_bits_per_s=130_000.0,
    )


def sizes(outputs: tuple[Output, ...]) -> list[tuple[int, int] | None]:
    return [o.pictures and (o.pictures.width, o.pictures.height) for o in outputs]


# --- the built-in ones -------------------------------------------------------------------------


def test_the_built_in_profiles_are_those_of_the_contract() -> None:
    found = load_profiles(None)
    assert list(found) == ["copy", "h264", "hevc", "av1", "abr", "audio"]
    assert all(each.description for each in found.values())


def test_copy_leaves_everything() -> None:
    copy = built_in("copy")
    for each in (look(), look(0), look(audio=""), look(video="mpeg2video", audio="mp2")):
        assert outputs_of(copy, each) == (AS_IT_IS,)
        assert sound_of(copy, each) is None


def test_h264() -> None:
    (output,) = outputs_of(built_in("h264"), look(1920, 1080))
    assert output == Output(
        rendition="h264",
        pictures=EncodedPictures(
            encoder="libx264",
            width=1920,
            height=1080,
            frame_rate=Fraction(25),
            gop=50,
            max_rate=3_000_000,
            buffer_size=6_000_000,
            options=X264,
        ),
    )
    assert sound_of(built_in("h264"), look(audio="mp3")) == AAC


@pytest.mark.parametrize(("name", "encoder"), [("hevc", "libx265"), ("av1", "libsvtav1")])
def test_hevc_and_av1_keep_the_picture_rate(name: str, encoder: str) -> None:
    (output,) = outputs_of(built_in(name), look())
    assert output.rendition == name
    assert output.pictures is not None
    assert (output.pictures.encoder, output.pictures.frame_rate) == (encoder, None)
    assert sizes((output,)) == [(1280, 720)]
    assert sound_of(built_in(name), look(audio="opus")) == AAC


@pytest.mark.parametrize(
    ("height", "names"),
    [
        (1080, ["source", "720p", "480p", "360p"]),
        (722, ["source", "720p", "480p", "360p"]),
        (720, ["source", "480p", "360p"]),
        (480, ["source", "360p"]),
        (360, ["source"]),
        (72, ["source"]),
    ],
)
def test_abr_has_what_lies_below_the_source(height: int, names: list[str]) -> None:
    outputs = outputs_of(built_in("abr"), look(height * 16 // 9, height))
    assert [o.rendition for o in outputs] == names
    assert outputs[0] == AS_IT_IS
    assert sound_of(built_in("abr"), look(audio="ac3")) is None
    for lower in outputs[1:]:
        assert not lower.has_sound
        assert lower.name_suffix == ".mp4"
        assert lower.pictures is not None
        assert lower.pictures.frame_rate is None
        assert f"{lower.pictures.height}p" == lower.rendition
        assert lower.pictures.width % 2 == 0


def test_audio() -> None:
    audio = built_in("audio")
    made = (Output(rendition="audio", name_suffix=".m4a", has_pictures=False),)
    for each in (look(), look(0)):
        assert outputs_of(audio, each) == made
    assert outputs_of(audio, look(audio=""), sound_apart=True) == made
    assert sound_of(audio, look(audio_rate=96_000, audio_channels=6)) is None
    assert sound_of(audio, look(audio="opus")) == AAC
    with pytest.raises(MediaInvalid, match="no sound"):
        outputs_of(audio, look(audio=""))


def test_the_built_in_names_and_those_of_the_page_are_the_same() -> None:
    table = DOCS.partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(load_profiles(None))


# --- what becomes of a stream ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "size"),
    [
        (look(1280, 720), (1280, 720)),
        (look(1281, 721), (1280, 720)),
        (look(720, 576, Fraction(16, 15)), (768, 576)),
        (look(720, 480, Fraction(8, 9)), (640, 480)),
        (look(101, 72), (100, 72)),
        (look(16384, 4096), (8192, 2048)),
        (look(4000, 8000), (2160, 4320)),
        (look(1, 1), (2, 2)),
    ],
)
def test_without_a_height_pictures_are_as_large_as_the_source(
    source: FirstLook, size: tuple[int, int]
) -> None:
    assert sizes(outputs_of(built_in("h264"), source)) == [size]


@given(
    width=st.integers(1, 20_000),
    height=st.integers(1, 20_000),
    aspect=st.fractions(Fraction(1, 8), 8, max_denominator=255),
    asked=st.none() | st.integers(8, 2160).map(lambda half: 2 * half),
)
def test_any_shape_gives_an_even_size_that_is_not_larger(
    width: int, height: int, aspect: Fraction, asked: int | None
) -> None:
    shape = PictureForm(width=width, height=height, aspect=aspect)
    made = PictureSettings(encoder="libx264", height=asked).encoded(shape)
    assert made.width % 2 == made.height % 2 == 0
    assert 2 <= made.width <= max(2, min(shape.shown_width, 8192))
    assert 2 <= made.height <= max(2, min(height, asked or height, 4320))


def test_nothing_is_above_an_encoded_main_output(write: Write) -> None:
    made = profile(
        "pictures = { encoder = 'libx265', height = 480 }\n"
        "renditions = [{ name = 'a', height = 720, encoder = 'libx264' },"
        " { name = 'b', height = 480, encoder = 'libx264' },"
        " { name = 'c', height = 240, encoder = 'libx264' }]",
        write,
    )
    outputs = outputs_of(made, look())
    assert [o.rendition for o in outputs] == ["web", "c"]
    assert sizes(outputs) == [(854, 480), (426, 240)]
    assert made.encoders == ("libx265", "libx264")


@pytest.mark.parametrize("name", ["h264", "hevc", "av1"])
def test_without_pictures_only_sound_is_made(name: str) -> None:
    assert outputs_of(built_in(name), look(0)) == (Output(rendition=name, has_pictures=False),)
    assert outputs_of(built_in("abr"), look(0)) == (AS_IT_IS,)


def test_pictures_that_are_announced_and_never_come() -> None:
    never = replace(look(), pictures=None)
    assert outputs_of(built_in("abr"), never) == (AS_IT_IS,)
    only_sound = (Output(rendition="h264", has_pictures=False),)
    assert outputs_of(built_in("h264"), never) == only_sound


@pytest.mark.parametrize(
    ("source", "made"),
    [
        (look(), None),
        (look(audio_channels=1), None),
        (replace(look(), sound_bits_per_s=128_000 * 1.15), None),
        (replace(look(), sound_bits_per_s=150_000), AAC),
        (look(audio_rate=44_100), AAC),
        (look(audio_channels=6), AAC),
        (look(audio="ac3"), AAC),
        # What MP4 does not take is AAC in the form of the recording, not in the source.
        (replace(look(), streams=("h264 video", "mp2 audio")), AAC),
        (look(audio="", audio_rate=0, audio_channels=0), AAC),
    ],
)
def test_sound_that_is_good_enough_is_copied(source: FirstLook, made: EncodedSound | None) -> None:
    assert sound_of(built_in("h264"), source) == made


@pytest.mark.parametrize(
    "source",
    [
        look(),
        replace(look(), streams=("h264 video", "mp2 audio")),
        look(audio="", audio_rate=0, audio_channels=0),
    ],
    ids=["good enough", "encoded anyway", "not there yet"],
)
def test_sound_with_a_loudness_is_always_encoded(source: FirstLook, write: Write) -> None:
    even = profile("sound = { bit_rate = '128k', loudness = -16 }", write)
    (made,) = outputs_for(even, source)
    assert made.sound == replace(AAC, loudness=-16.0)
    # What it is made to before that should lose next to nothing.
    assert form_for(even, source).audio_bit_rate in (0, 320_000)
    assert outputs_for(built_in("copy"), source)[0].sound is None


def test_outputs_of_recordings_that_began_without_a_loudness_are_read() -> None:
    output = replace(AS_IT_IS, sound=replace(AAC, loudness=-16.0))
    assert OUTPUT.load(OUTPUT.dump(output)) == output
    old = json.loads(OUTPUT.dump(replace(output, sound=AAC)))
    del old["sound"]["loudness"]
    assert OUTPUT.load(json.dumps(old)) == replace(output, sound=AAC)


# --- the file ----------------------------------------------------------------------------------


def test_the_page_s_example_has_every_key(write: Write) -> None:
    text = re.search(r"^```toml\n(.*?)^```", DOCS, re.MULTILINE | re.DOTALL)
    assert text is not None
    web = load_profiles(write(text[1]))["web"]
    outputs = outputs_of(web, look(1920, 1080))
    assert [o.rendition for o in outputs] == ["web", "540p"]
    assert sizes(outputs) == [(1920, 1080), (960, 540)]
    assert outputs[1].pictures is not None
    assert (outputs[1].pictures.max_rate, outputs[1].pictures.buffer_size) == (1_500_000, 3_000_000)
    assert outputs[1].pictures.frame_rate == Fraction(30_000, 1001)
    assert isinstance(web.pictures, PictureSettings)
    assert web.sound is not None
    assert web.model_fields_set >= {"description", "pictures", "renditions", "sound"}
    assert web.pictures.model_fields_set == set(PictureSettings.model_fields)
    assert web.sound.model_fields_set == set(type(web.sound).model_fields)


def test_the_page_s_refusal_is_what_is_said(write: Write) -> None:
    path = write(
        "[web]\nrenditions = [{ name = '540p', height = 540, encoder = 'libx264', gop = 1001 }]"
    )
    assert f"PROFILES_FILE: profiles.toml: {refusal(path)}\n" in DOCS


def test_the_page_names_all_encoders_and_options_that_cannot_be_set() -> None:
    named = set(re.findall(r"`([^`\n]+)`", DOCS.partition("\n| of pictures |")[2]))
    assert named >= set(ENCODERS)
    assert named >= OWNED_OPTIONS


def test_profiles_of_a_file_replace_and_join(write: Write) -> None:
    found = load_profiles(write("[h264]\ndescription = 'ours'\n[web]\npictures = 'none'\n"))
    assert list(found) == ["copy", "h264", "hevc", "av1", "abr", "audio", "web"]
    assert found["h264"].description == "ours"
    assert found["h264"].pictures == "copy"
    assert load_profiles(None)["h264"].description != "ours"
    assert pickle.loads(pickle.dumps(found)) == found


def test_a_profile_that_there_is_not() -> None:
    assert find_profile("h264", load_profiles(None)).name == "h264"
    with pytest.raises(UsageError) as caught:
        find_profile("h265\n", load_profiles(None))
    assert str(caught.value) == (
        r"There is no profile 'h265\n'. Profiles: abr, audio, av1, copy, h264, hevc"
    )


@pytest.mark.parametrize(
    ("written", "rate"),
    [("25", 25), ("29.97", Fraction("29.97")), ("'30000/1001'", Fraction(30_000, 1001)), ("1", 1)],
)
def test_frame_rates(written: str, rate: Fraction, write: Write) -> None:
    made = profile(f"pictures = {{ encoder = 'libx264', frame_rate = {written} }}", write)
    assert isinstance(made.pictures, PictureSettings)
    assert made.pictures.frame_rate == rate


@pytest.mark.parametrize(
    ("written", "bits"),
    [("800000", 800_000), ("'800k'", 800_000), ("'3M'", 3_000_000), ("'2.5M'", 2_500_000)],
)
def test_bit_rates(written: str, bits: int, write: Write) -> None:
    made = profile(f"pictures = {{ encoder = 'libx264', max_rate = {written} }}", write)
    assert isinstance(made.pictures, PictureSettings)
    assert made.pictures.max_rate == bits


@pytest.mark.parametrize(
    ("line", "key", "reason"),
    [
        ("encoder = 'x264'", "encoder", "'x264' is no encoder. Encoders: libx264, libx265"),
        ("encoder = 7", "encoder", "valid string"),
        ("height = 721", "height", "multiple of 2"),
        ("height = 8", "height", "16"),
        ("height = 8640", "height", "4320"),
        ("height = '720'", "height", "valid integer"),
        ("frame_rate = 0.5", "frame_rate", "is no frame rate"),
        ("frame_rate = true", "frame_rate", "is no frame rate"),
        ("frame_rate = nan", "frame_rate", "is no frame rate"),
        ("frame_rate = '1/0'", "frame_rate", "is no frame rate"),
        ("frame_rate = 240", "frame_rate", "is no frame rate"),
        ("gop = 0", "gop", "1"),
        ("gop = 1001", "gop", "1000"),
        ("gop = 2.0", "gop", "valid integer"),
        ("pixel_format = 'yuv444p'", "pixel_format", "yuv420p"),
        ("max_rate = '3 Mbit'", "max_rate", "is no bit rate"),
        ("max_rate = true", "max_rate", "is no bit rate"),
        ("max_rate = -1", "max_rate", "is no bit rate"),
        ("max_rate = 10", "max_rate", "1000"),
        ("buffer = '1M'", None, "buffer says nothing without max_rate"),
        ("crf = 23", "crf", "there is no such key"),
        ("options = 'crf=23'", "options", "must be a table"),
        ("options = { g = 50 }", "options", "g cannot be set"),
        ("options = { keyint_min = 50 }", "options", "keyint_min cannot be set"),
        ("options = { x264-params = 'threads=9' }", "options", "x264-params cannot be set"),
        ("options = { 'Crf ' = 1 }", "options", "'Crf ' is no name"),
        ("options = { crf = true }", "options", "crf must be a number"),
        ("options = { crf = inf }", "options", "crf must be a number"),
        ("options = { crf = [1] }", "options", "crf must be a number"),
        ('options = { tune = "a\\nb" }', "options", "tune must be a number, or text"),
    ],
)
def test_a_bad_key_is_named_with_its_profile_and_rendition(
    line: str, key: str | None, reason: str, write: Write
) -> None:
    keys = "" if line.startswith("encoder") else "encoder = 'libx264'\n"
    in_main = refusal(write(f"[web.pictures]\n{keys}{line}"))
    assert in_main.startswith("profile web: pictures: " + (f"{key}: " if key else ""))
    assert reason in in_main
    height = "" if line.startswith("height") else "height = 240\n"
    lower = refusal(write(f"[[web.renditions]]\nname = 'low'\n{height}{keys}{line}"))
    assert lower.startswith("profile web, rendition low: " + (f"{key}: " if key else ""))
    assert reason in lower


RENDITION = "encoder = 'libx264', height = 240"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("web = 3", "profile web: must be a table"),
        ("[web]\nsize = 3", "profile web: size: there is no such key"),
        ("[web]\nname = 'x'", "profile web: name: there is no such key"),
        ("[web]\npictures = 'h264'", "profile web: pictures: Input should be 'copy' or 'none'"),
        ("[web]\npictures = {}", "profile web: pictures: encoder: is missing"),
        ("[web]\nrenditions = {}", "profile web: renditions: must be a list of tables"),
        ("[web]\nrenditions = [3]", "profile web, rendition 0: must be a table"),
        ("[web]\nrenditions = [{}]", "profile web, rendition 0: encoder: is missing"),
        ('[web]\ndescription = "a\\u001bb"', "profile web: description: must be one line"),
        ("[web]\nsound = 3", "profile web: sound: must be a table"),
        ("[web.sound]", "profile web: sound: bit_rate: is missing"),
        ("[web.sound]\nbit_rate = '1M'", "profile web: sound: bit_rate: "),
        ("[web.sound]\nbit_rate = '64k'\nrate = 48001", "profile web: sound: rate: "),
        ("[web.sound]\nbit_rate = '64k'\nchannels = 9", "profile web: sound: channels: "),
        ("[web.sound]\nbit_rate = '64k'\ncodec = 'mp3'", "profile web: sound: codec: "),
        *(
            (f"[web.sound]\nbit_rate = '64k'\nloudness = {value}", "profile web: sound: loudness: ")
            for value in ("-41", "-4.9", "0", "nan", "-inf", "true", "'-16'")
        ),
        (
            "[web.sound]\nbit_rate = '64k'\nkeep = true\nloudness = -16",
            "profile web: sound: what keep copies keeps its loudness",
        ),
        ("[Web]", "profile Web: name: must be up to 32 of"),
        ("[-web]", "profile -web: name: must be up to 32 of"),
        ("['']", "profile : name: must be up to 32 of"),
        (f"[{'a' * 33}]", f"profile {'a' * 33}: name: must be up to 32 of"),
        *((f"[{n}]", f"profile {n}: name: {n} is the name") for n in ("source", "audio-1")),
        (
            f"[web]\nrenditions = [{{ name = 'poster', {RENDITION} }}]",
            "profile web, rendition poster: name: poster is the name of something else",
        ),
        (
            f"[web]\nrenditions = [{{ name = '../x', {RENDITION} }}]",
            "profile web, rendition ../x: name: must be up to 32 of",
        ),
        (
            f"[web]\nrenditions = [{{ name = 'a', {RENDITION} }}, {{ name = 'a', {RENDITION} }}]",
            "profile web: two renditions have the name a",
        ),
        (
            "[web]\npictures = { encoder = 'libx264' }\n"
            f"renditions = [{{ name = 'web', {RENDITION} }}]",
            "profile web: two renditions have the name web",
        ),
        (
            f"[web]\npictures = 'none'\nrenditions = [{{ name = 'a', {RENDITION} }}]",
            "profile web: there are no renditions without pictures",
        ),
        (
            "[web]\nrenditions = ["
            + ",".join(f"{{ name = 'a{n}', {RENDITION} }}" for n in range(11))
            + "]",
            "profile web: renditions: Tuple should have at most 10 items",
        ),
        (
            "[web.pictures]\nencoder = 'hevc_nvenc'\npixel_format = 'yuv420p10le'",
            "profile web: pictures: hevc_nvenc makes yuv420p only",
        ),
    ],
)
def test_what_cannot_be_meant(text: str, reason: str, write: Write) -> None:
    assert reason in refusal(write(text))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"[web]\npictures = copy\n", "Invalid value (at line 2, column 12)"),
        (b"[web]\n[web]\n", "(at line 2, column 5)"),
        (b"[web]\n\n\xff", "not UTF-8 (at line 3)"),
        (b"a = " + b"[" * 100_000, "nested too deeply"),
        (b"a = " + b"9" * 5000, "holds a number that is too large"),
        (b"#" * (2**20 + 1), "larger than 1048576 bytes"),
    ],
    ids=["value", "twice", "utf-8", "deep", "number", "large"],
)
def test_a_file_that_is_no_toml(data: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "profiles.toml"
    path.write_bytes(data)
    assert reason in refusal(path)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "gone.toml", Path("/dev/zero")):
        with pytest.raises(SettingsError, match=f"There is no file {path}"):
            load_profiles(path)


def test_all_problems_are_told_at_once(write: Write) -> None:
    found = refusal(write("[a]\nx = 1\n[b]\ny = 1\n"))
    assert found == "profile a: x: there is no such key; profile b: y: there is no such key"


@given(st.text(max_size=60))
def test_any_text_is_profiles_or_refused(text: str) -> None:
    with suppress(SettingsError):
        profiles._parse("f", text.encode("utf-8", "surrogatepass"))


def test_profiles_are_read_without_ffmpeg() -> None:
    code = (
        "import sys; from pipeline.settings import load_settings; load_settings().profiles\n"
        "sys.exit(str({'av', 'numpy'} & set(sys.modules) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr.strip()) == (1, ""), done.stderr


# --- vodray profiles ---------------------------------------------------------------------------


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(cli.main, ["profiles", *arguments], env=environment)


def test_the_command_lists_them() -> None:
    shown = run(PROFILE="h264")
    assert shown.exit_code == 0, shown.output
    assert "h264 (default): " in shown.stdout
    assert "{name}/720p.mp4  720 lines" in shown.stdout
    assert "{name}.m4a" in shown.stdout
    found = json.loads(run("--json").stdout)
    assert [each["profile"] for each in found["profiles"]] == list(load_profiles(None))
    assert [each["is_default"] for each in found["profiles"]] == [True, *[False] * 5]
    assert found["profiles"][1]["sound"]["bit_rate"] == 128_000


def test_the_command_tells_what_becomes_of_a_stream(clips: Clips, write: Write) -> None:
    own = write("[low]\nrenditions = [{ name = 'p', height = 36, encoder = 'libx264' }]")
    source = str(clips(replace(SMALL, audio_rate=48_000)))
    shown = run(source, PROFILES_FILE=str(own))
    assert shown.exit_code == 0, shown.output
    assert "The stream: h264 video, aac audio, 128x72, 25 pictures/s" in shown.stdout
    found = json.loads(run(source, "--json", PROFILES_FILE=str(own)).stdout)
    assert (found["source"]["pictures"]["width"], found["source"]["sound"]["channels"]) == (128, 1)
    made = {each["profile"]: each for each in found["profiles"]}
    assert [o["object"] for o in made["abr"]["outputs"]] == ["{name}.mp4"]
    assert [o["object"] for o in made["low"]["outputs"]] == ["{name}.mp4", "{name}/p.mp4"]
    assert made["low"]["outputs"][1]["pictures"]["width"] == 64
    assert made["h264"]["sound"] is None
    assert made["h264"]["outputs"][0]["pictures"]["height"] == 72


def test_the_command_tells_how_loud_sound_becomes(clips: Clips, write: Write) -> None:
    own = write("[even]\nsound = { bit_rate = '128k', loudness = -16 }")
    source = str(clips(replace(SMALL, audio_rate=48_000)))
    for arguments in ((), (source,)):
        shown = run(*arguments, PROFILES_FILE=str(own))
        assert "48000 Hz stereo, at -16 LUFS\n" in shown.stdout
        found = json.loads(run(*arguments, "--json", PROFILES_FILE=str(own)).stdout)
        assert [p["sound"]["loudness"] for p in found["profiles"] if p["sound"]][-1] == -16.0


def test_the_command_tells_what_cannot_be_made(clips: Clips, write: Write) -> None:
    own = write("[gpu]\npictures = { encoder = 'av1_nvenc' }")
    shown = run(str(clips(replace(SMALL, audio_rate=0))), PROFILES_FILE=str(own))
    assert shown.exit_code == 0, shown.output
    assert "cannot be made: The stream has no sound. Profile audio keeps only that" in shown.stdout
    if encoder_problem("av1_nvenc"):
        assert f"cannot be made: av1_nvenc: {encoder_problem('av1_nvenc')}" in shown.stdout


def test_encoders_that_are_not_there() -> None:
    assert encoder_problem("libx264") == ""
    assert encoder_problem("libnothing") == "not in this build of FFmpeg"


def test_the_command_refuses_in_one_line(tmp_path: Path) -> None:
    gone = run(str(tmp_path / "x.m3u8"))
    assert (gone.exit_code, gone.stderr.count("\n")) == (1, 1)
    bad = run(PROFILES_FILE=str(tmp_path / "x.toml"))
    assert bad.exit_code == 2
    assert bad.stderr == (
        f"vodray: Bad setting. PROFILES_FILE: There is no file {tmp_path}/x.toml\n"
    )
