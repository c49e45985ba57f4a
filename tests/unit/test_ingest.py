"""Live ingest without listeners: what is told of a stream, commands, playlists, RTMP."""

import struct
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import IngestFull, MediaInvalid, SettingsError
from pipeline.ingest import addresses, amf, clock, commands, local, playlist
from pipeline.ingest import state as states
from pipeline.ingest.addresses import PortRange
from pipeline.ingest.commands import Found
from pipeline.ingest.playlist import Entry
from pipeline.ingest.rtmp import FLV_HEADER, Closed, Media, Publish, Server
from pipeline.ingest.state import Ingest, Notice, Phase
from pipeline.media.playlist import MediaPlaylist, parse
from pipeline.model import EventKind
from pipeline.profiles import load_profiles
from pipeline.settings import load_settings
from tests.media import Form, make_hls

NOW = datetime(2025, 10, 5, 18, 0, tzinfo=UTC)
WINDOW = timedelta(seconds=60)
PATIENCE = timedelta(hours=12)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def new() -> Ingest:
    return Ingest(stream_id="s", stream_key="k", secret="x" * 32, port=20900, asked_at=NOW)


def live() -> Ingest:
    return states.connected(new(), "srt", later(1), WINDOW)


# --- what is told of a stream -----------------------------------------------------------------


def test_a_publisher_begins_a_broadcast() -> None:
    found = live()
    assert (found.phase, found.runs, found.started_at) == (Phase.LIVE, 1, later(1))
    assert found.broadcast == "20251005T180001000"
    assert states.start_event(found).occurred_at == later(1)


def test_one_who_comes_back_continues_the_broadcast() -> None:
    lost = states.disconnected(live(), later(10), has_media=True)
    assert lost.phase is Phase.LOST
    assert states.at_time(lost, later(70), WINDOW, PATIENCE) == lost
    back = states.connected(lost, "rtmp", later(65), WINDOW)
    assert (back.phase, back.runs, back.broadcast) == (Phase.LIVE, 2, live().broadcast)
    assert back.resumed_at == later(1)


def test_after_the_window_it_ends_once() -> None:
    lost = states.disconnected(live(), later(10), has_media=True)
    ending = states.at_time(lost, later(71), WINDOW, PATIENCE)
    assert ending.phase is Phase.ENDING
    event = states.end_event(ending)
    assert (event.kind, event.occurred_at, event.started_at) == (
        EventKind.ENDED,
        later(10),
        later(1),
    )
    ended = states.finished(ending)
    assert states.at_time(ended, later(500), WINDOW, PATIENCE) == ended
    assert states.stopped(ended, later(501)) == ended


def test_one_who_sends_nothing_of_use_was_none() -> None:
    found = states.disconnected(live(), later(10), has_media=False)
    assert (found.phase, found.broadcast, found.runs) == (Phase.WAITING, None, 0)


@pytest.mark.parametrize(
    ("before", "phase"),
    [
        (new(), Phase.ENDED),
        (live(), Phase.ENDING),
        (states.disconnected(live(), later(5), has_media=True), Phase.ENDING),
        (replace(new(), phase=Phase.ENDING), Phase.ENDING),
    ],
)
def test_stopped(before: Ingest, phase: Phase) -> None:
    once = states.stopped(before, later(20))
    assert once.phase is phase
    assert states.stopped(once, later(30)).phase is phase


def test_a_process_that_died_has_lost_its_publishers_but_ended_nothing() -> None:
    found = states.restarted(live(), later(30))
    assert (found.phase, found.last_at) == (Phase.LOST, later(30))
    ending = replace(live(), phase=Phase.ENDING)
    assert states.restarted(ending, later(30)) == ending


def test_asked_again_soon_after_its_end_the_same_broadcast_goes_on() -> None:
    ended = replace(live(), phase=Phase.ENDED, last_at=later(10), is_start_told=True)
    waiting = states.asked_again(ended, Notice(stream_id="s", status="waiting"), later(20))
    assert waiting.phase is Phase.WAITING
    soon = states.connected(waiting, "srt", later(30), WINDOW)
    assert (soon.broadcast, soon.runs, soon.is_start_told) == (ended.broadcast, 2, False)
    assert states.start_event(soon).occurred_at == later(30)
    late = states.connected(waiting, "srt", later(300), WINDOW)
    assert (late.broadcast != ended.broadcast, late.runs) == (True, 1)


@pytest.mark.parametrize("phase", Phase)
def test_nobody_speaks_of_others_streams_not_even_of_those_that_ended(phase: Phase) -> None:
    theirs = replace(live(), phase=phase, user_id="u1")
    for user_id, only_own, may in (
        ("u1", True, True), ("u2", True, False), ("u2", False, True), (None, False, True),
    ):  # fmt: skip
        notice = Notice(stream_id="s", status="waiting", user_id=user_id, only_own=only_own)
        assert states.may_speak(notice, theirs) is may
    nobody_s = replace(theirs, user_id=None)
    assert not states.may_speak(
        Notice(stream_id="s", status="waiting", user_id="u2", only_own=True), nobody_s
    )


def test_a_publisher_who_never_comes_is_not_waited_for_for_ever() -> None:
    assert states.at_time(new(), later(12 * 3600 + 1), WINDOW, PATIENCE).phase is Phase.ENDED
    assert states.at_time(new(), later(3600), WINDOW, PATIENCE).phase is Phase.WAITING


# --- addresses --------------------------------------------------------------------------------


def test_ports_are_given_out_once() -> None:
    ports = PortRange.parse("20900-20901")
    assert ports.free(()) == 20900
    assert ports.free({20900}) == 20901
    assert ports.free((), wanted=20901) == 20901
    with pytest.raises(IngestFull):
        ports.free({20900, 20901})


@pytest.mark.parametrize("text", ["", "x", "0-5", "9-8", "1-65536", "1-2-3"])
def test_what_is_no_range_of_ports(text: str) -> None:
    with pytest.raises(ValueError, match="port"):
        PortRange.parse(text)


def test_the_secret_is_in_every_url() -> None:
    secret = addresses.new_secret()
    found = addresses.urls("live.example", PortRange(first=20900, last=20910), 20903, secret)
    assert found.srt == f"srt://live.example:20903?mode=caller&passphrase={secret}&pbkeylen=16"
    assert found.rtmp == f"rtmp://live.example:20900/live/{secret}"
    assert 10 <= len(secret) <= 79


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ingest_ports", "0-5"),
        ("ingest_ports", "high"),
        ("ingest_host", "rtmp://h"),
        ("ingest_host", "h:1935"),
        ("ingest_patience", "0s"),
        ("ingest_max_bytes", "-1"),
    ],
)
def test_settings_that_cannot_be_meant(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable.upper()):
        load_settings(_env_file=None, **{variable: value})


# --- commands ---------------------------------------------------------------------------------


def found(**other: object) -> Found:
    known: dict[str, object] = {
        "video": "h264", "audio": "aac", "pixel_format": "yuv420p", "keyframe_s": 2.0,
    }  # fmt: skip
    return Found.read({**known, **other, "width": 1, "height": 1})


@pytest.mark.parametrize(
    ("stream", "copied"),
    [
        (found(), (True, True)),
        (found(keyframe_s=None), (False, True)),
        (found(keyframe_s=20.0), (False, True)),
        (found(pixel_format="yuv422p10le"), (False, True)),
        (found(video="hevc"), (False, True)),
        (found(audio="opus"), (True, False)),
    ],
)
def test_what_is_copied(stream: Found, copied: tuple[bool, bool]) -> None:
    argv = commands.cut("ffmpeg", "flv", stream, Path("/x/001-%05d.ts"), 100)
    assert (
        argv[argv.index("-c:v") + 1] == "copy",
        argv[argv.index("-c:a") + 1] == "copy",
    ) == copied


def test_what_cannot_be_used_says_why() -> None:
    with pytest.raises(MediaInvalid, match="pictures of 9 x 9"):
        Found.read({"problem": "pictures of 9 x 9"})


def test_it_is_encoded_as_the_profile_h264_says() -> None:
    profile = load_profiles(None)["h264"]
    options = dict(zip(commands.ENCODE_PICTURES[::2], commands.ENCODE_PICTURES[1::2], strict=True))
    pictures = profile.pictures
    assert not isinstance(pictures, str)
    assert pictures is not None
    said = dict(pictures.options)
    assert (options["-preset"], options["-crf"]) == (said["preset"], said["crf"])
    assert (int(options["-g"]), int(options["-r"])) == (pictures.gop, pictures.frame_rate)
    assert options["-maxrate"] == f"{pictures.max_rate // 1000}k"
    assert options["-bufsize"] == f"{pictures.buffer // 1000}k"
    assert options["-pix_fmt"] == pictures.pixel_format


# --- playlists and files ----------------------------------------------------------------------


def entry(run: int, number: int, at_s: float, **more: bool) -> Entry:
    return Entry(run=run, number=number, duration_s=4.0, began_at=later(at_s), **more)


def test_the_playlist_of_two_runs_with_a_gap() -> None:
    entries = [entry(1, 0, 0), entry(1, 1, 4, is_gap=True), entry(2, 0, 20)]
    text = playlist.render("20251005T180000000", entries, is_ended=True)
    assert text == (
        "#EXTM3U\n#EXT-X-VERSION:8\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:0\n"
        "#EXT-X-PLAYLIST-TYPE:EVENT\n"
        "#EXT-X-PROGRAM-DATE-TIME:2025-10-05T18:00:00.000Z\n"
        "#EXTINF:4.000000,\n20251005T180000000-001-00000.ts\n"
        "#EXTINF:4.000000,\n#EXT-X-GAP\n20251005T180000000-001-00001.ts\n"
        "#EXT-X-DISCONTINUITY\n#EXT-X-PROGRAM-DATE-TIME:2025-10-05T18:00:20.000Z\n"
        "#EXTINF:4.000000,\n20251005T180000000-002-00000.ts\n#EXT-X-ENDLIST\n"
    )
    read = parse(text.encode(), "stream.m3u8")
    assert isinstance(read, MediaPlaylist)
    assert [segment.duration_s for segment in read.segments] == [4.0] * 3
    assert read.ended


def test_a_segment_that_was_cut_off_tells_its_length(tmp_path: Path) -> None:
    make_hls(tmp_path, Form(seconds=4, segment_s=4.0))
    data = (tmp_path / "seg_00000.ts").read_bytes()
    assert clock.duration_s(data) == pytest.approx(4.0, abs=0.1)
    half = clock.duration_s(data[: len(data) // 2 // 188 * 188 + 100])
    assert half is not None
    assert 0.5 < half < 3.5
    assert clock.duration_s(b"\x47" * 1000) is None


def test_files_are_found_in_order(tmp_path: Path) -> None:
    for name in ("002-00000.ts", "001-00010.ts", "001-00002.ts", "x.ts", "001-00003.mp4"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "001-00011.ts").touch()
    assert [(f.run, f.number) for f in local.found(tmp_path)] == [(1, 2), (1, 10), (2, 0)]
    assert [f.number for f in local.found(tmp_path, run=2)] == [0]


def test_disk_is_bounded(tmp_path: Path) -> None:
    disk = local.Disk(tmp_path, 100)
    assert disk.take(60)
    assert not disk.take(60)
    disk.give_back(60)
    assert disk.take(100)


# --- RTMP -------------------------------------------------------------------------------------

HELLO = b"\x03" + bytes(1536) + bytes(1536)


def command(*values: object) -> bytes:
    data = amf.encode(*values)
    return chunk(20, data)


def chunk(kind: int, data: bytes, time: int = 0) -> bytes:
    """One message in chunks of 128 bytes."""
    head = b"\x03" + time.to_bytes(3, "big") + len(data).to_bytes(3, "big") + bytes((kind,))
    pieces = [data[at : at + 128] for at in range(0, len(data), 128)] or [b""]
    return head + bytes(4) + b"\xc3".join(pieces)


CONNECT = command("connect", 1, {"app": "live", "tcUrl": "rtmp://h/live"})
PUBLISH = command("publish", 5, None, "secret", "live")


@pytest.mark.parametrize("step", [1, 7, 128, 100_000])
def test_a_publisher_is_understood_in_any_pieces(step: int) -> None:
    server, events = Server(), []
    video = bytes(range(256)) * 4
    said = HELLO + CONNECT + command("createStream", 4, None) + PUBLISH
    for data in (said, chunk(9, video, time=70) + command("deleteStream", 6, None, 1)):
        for at in range(0, len(data), step):
            events += list(server.feed(data[at : at + step]))
        if events[-1] == Publish(name="secret"):
            server.accept()
    tag = b"\x09" + len(video).to_bytes(3, "big") + b"\x00\x00\x46\x00\x00\x00\x00" + video
    media = Media(flv=tag + struct.pack(">I", len(tag)))
    assert events == [Publish(name="secret"), media, Closed.CLOSED]
    assert b"NetConnection.Connect.Success" in server.to_send
    assert b"NetStream.Publish.Start" in server.to_send
    assert FLV_HEADER[:4] == b"FLV\x01"


def test_media_before_it_may_publish_is_dropped() -> None:
    server = Server()
    assert list(server.feed(HELLO + CONNECT + chunk(9, b"x" * 100))) == []


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        HELLO + b"\x03" + bytes(3) + b"\xff\xff\xff" + b"\x14" + bytes(4),
        HELLO + chunk(20, b"\x63\x00\x00"),
        HELLO + chunk(20, b"\x02\x00\xff"),
        HELLO + chunk(1, struct.pack(">I", 0)),
        HELLO + command("publish", 5, None, 7),
        HELLO + b"".join(bytes((each,)) + bytes(11) for each in range(2, 40)),
        HELLO + chunk(20, b"\x0a\x00\x00\xff\xff" + b"\x05" * 2000),
        HELLO + chunk(20, b"\x03\x00\x01a" * 20),
    ],
)
def test_what_is_no_rtmp_is_refused(data: bytes) -> None:
    with pytest.raises(MediaInvalid):
        list(Server().feed(data))


@given(st.binary(max_size=400), st.integers(1, 400))
def test_any_bytes_are_understood_or_refused(data: bytes, step: int) -> None:
    server = Server()
    list(server.feed(HELLO + CONNECT + PUBLISH))
    server.accept()
    with suppress(MediaInvalid):
        for at in range(0, len(data), step):
            list(server.feed(data[at : at + step]))


def test_messages_side_by_side_have_a_bound() -> None:
    server = Server()
    list(server.feed(HELLO + CONNECT + PUBLISH + chunk(1, struct.pack(">I", 2**24 - 1))))
    server.accept()
    begun = (bytes((at, 0, 0, 0)) + b"\xff\xff\xff\x09" + bytes(4) for at in range(4, 10))
    with pytest.raises(MediaInvalid, match="at once"):
        list(server.feed(chunk(1, struct.pack(">I", 2**23)) + b"".join(_long(b) for b in begun)))


def _long(head: bytes) -> bytes:
    return head + bytes(2**23)


def test_amf_goes_there_and_back() -> None:
    values = ["connect", 1.0, {"a": "b", "c": None, "d": {"e": True}}, None]
    assert amf.decode(amf.encode(*values)) == values
