"""Streams and tasks that are wrong: each ends in a clear error in the right place, leaves nothing
behind, and holds nobody else up."""

from collections.abc import Callable

import pytest

from tests.e2e.conftest import SIX_S
from tests.e2e.world import Broadcast, World, instant
from tests.media import make_hls
from tests.media_fixtures import Clips

pytestmark = pytest.mark.timeout(240)

HTML = "<!DOCTYPE html><html><body>404 Not Found</body></html>"


def segment_uris(live: Broadcast) -> list[str]:
    return [entry[-1] for entry in live.entries]


def playlist_of(*uris: str) -> str:
    entries = [f"#EXTINF:2.0,\n{uri}\n" for uri in uris]
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n{''.join(entries)}#EXT-X-ENDLIST\n"


def nothing(live: Broadcast) -> None: ...


def playlist(text: str) -> Callable[[Broadcast], None]:
    return lambda live: live.write_playlist(text)


def only_playlist(live: Broadcast) -> None:
    live.write_playlist(live.playlist.read_text())


def pointing_to(uri: str) -> Callable[[Broadcast], None]:
    """The second segment lies somewhere else."""

    def show(live: Broadcast) -> None:
        live.show_whole()
        first, _, last = segment_uris(live)
        live.write_playlist(playlist_of(first, uri, last))

    return show


def garbage(live: Broadcast) -> None:
    live.show_whole()
    for uri in segment_uris(live):
        live.put(uri, b"\x00garbage" * 5000)


# What is in the bucket, and what the recording's error must say.
FAILING = {
    "missing playlist": (nothing, ["There is no playlist at s3://hls-streams/{key}/stream.m3u8"]),
    "empty playlist": (playlist(""), ["{key}/stream.m3u8 is empty"]),
    "blank playlist": (playlist(" \n \n"), ["{key}/stream.m3u8 is empty"]),
    "web page": (playlist(HTML), ["{key}/stream.m3u8 is a web page", "<!DOCTYPE html>"]),
    "other text": (playlist("seg_00000.ts\n"), ["{key}/stream.m3u8 is no playlist", "line 1"]),
    "no segments": (playlist(playlist_of()), ["{key}/stream.m3u8 lists no segments"]),
    "no segment is there": (
        only_playlist,
        ["No segment of s3://hls-streams/{key}/stream.m3u8", "not there (404)"],
    ),
    "no segment is media": (garbage, ["{key}/stream.m3u8"]),
    "encrypted": (
        playlist(
            '#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-KEY:METHOD=SAMPLE-AES,URI="k"\n'
            "#EXTINF:2.0,\nseg_00000.ts\n#EXT-X-ENDLIST\n"
        ),
        ["SAMPLE-AES"],
    ),
}
# What a task says about where the playlist is.
FORBIDDEN = {
    "bucket that does not exist": ("no-such-bucket/k/stream.m3u8", "There is no playlist at"),
    "results": ("s3://recordings/k/stream.m3u8", "The bucket recordings may not be read"),
    "foreign host": ("https://media.example.test/live.m3u8", "media.example.test may not be read"),
    "metadata": ("http://169.254.169.254/live.m3u8", "169.254.169.254 may not be read"),
}


def without_one(live: Broadcast) -> None:
    live.show_whole()
    live.world.store.delete(live.world.hls_bucket, [f"{live.key}/{segment_uris(live)[1]}"])


def one_garbage(live: Broadcast) -> None:
    live.show_whole()
    live.put(segment_uris(live)[1], b"\x00garbage" * 5000)


def one_truncated(live: Broadcast) -> None:
    live.show_whole()
    name = segment_uris(live)[1]
    whole = (live.playlist.parent / name).read_bytes()
    live.put(name, whole[: len(whole) // 4 // 188 * 188 + 100])


def one_web_page(live: Broadcast) -> None:
    live.show_whole()
    live.put(segment_uris(live)[1], HTML.encode())


# What is wrong with the second segment, and what the gap's reason must say.
INCOMPLETE = {
    "missing": (without_one, "is not there (404)"),
    "garbage": (one_garbage, ""),
    "truncated": (one_truncated, ""),
    "web page in between": (one_web_page, ""),
    "path out of the bucket": (pointing_to("../../../etc/passwd"), "points outside its bucket"),
    "file": (pointing_to("file:///etc/passwd"), "points outside its bucket: file:///etc/passwd"),
    "other bucket": (pointing_to("s3://recordings/x.ts"), "points outside its bucket"),
    "other host": (pointing_to("http://media.example.test/x.ts"), "media.example.test may not be"),
    "metadata service": (pointing_to("http://169.254.169.254/"), "169.254.169.254 may not be"),
    "our own address": (pointing_to("//127.0.0.1/x.ts"), "points outside its bucket"),
}


@pytest.fixture(scope="module")
def streams(
    world: World, tmp_path_factory: pytest.TempPathFactory, clips: Clips
) -> dict[str, Broadcast]:
    """All of them at once, and behind them one that is as it should be."""
    good = make_hls(tmp_path_factory.mktemp("wrong"), SIX_S)
    found = {name: Broadcast(world=world, playlist=good) for name in [*FAILING, *INCOMPLETE]}
    for name, live in found.items():
        show, _ = (FAILING | INCOMPLETE)[name]
        show(live)
        live.tell("started", timestamp=instant(-8))
        live.tell("ended")
    for name, (path, _) in FORBIDDEN.items():
        found[name] = Broadcast(world=world, playlist=good)
        found[name].tell("ended", hls_path=path)
    found["good"] = Broadcast(world=world, playlist=good)
    found["good"].show_whole()
    found["good"].tell("ended")
    return found


def test_the_stream_behind_them_is_recorded(streams: dict[str, Broadcast]) -> None:
    done = streams["good"].completed()
    assert (done["duration"], done["gaps"]) == (6, [])


@pytest.mark.parametrize("name", FAILING)
def test_a_stream_that_cannot_be_recorded(name: str, streams: dict[str, Broadcast]) -> None:
    live = streams[name]
    error = live.failed()
    for part in FAILING[name][1]:
        assert part.format(key=live.key) in error


@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_place_that_may_not_be_read(name: str, streams: dict[str, Broadcast]) -> None:
    assert FORBIDDEN[name][1] in streams[name].failed()


@pytest.mark.parametrize("name", INCOMPLETE)
def test_a_bad_segment_costs_only_itself(name: str, streams: dict[str, Broadcast]) -> None:
    live = streams[name]
    done = live.completed()
    (gap,) = done["gaps"]
    # Of a truncated one the rest is missing in front of the next.
    assert gap["segments"] in ([1], [2])
    assert 0.5 < gap["duration"] <= 2.1
    assert gap["reason"]
    assert INCOMPLETE[name][1] in gap["reason"]
    report = live.world.report(done)
    assert report["frames_in"] == report["frames_out"] > 0
    assert [g["start_s"] for g in report["gaps"]] == [gap["start"]]
    assert done["duration"] in (4, 5)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"event": "paused"}, "Invalid event type"),
        ({"stream_id": None}, "stream_id"),
        ({"stream_id": "a/b"}, "stream_id contains a slash"),
        ({"key": ".."}, "stream_key contains a relative path part"),
        ({"timestamp": "yesterday"}, "timestamp"),
        ({"hls_path": "../../etc/passwd"}, "hls_path contains a relative path part"),
    ],
)
def test_a_webhook_that_is_no_task(world: World, body: dict[str, str], error: str) -> None:
    answer = world.webhook(**{"event": "started", "stream_id": "stream", "key": "key", **body})
    assert answer.status_code == 400
    assert error in answer.json()["error"]


def test_messages_that_are_no_task_are_put_aside(world: World, clips: Clips) -> None:
    wrong = {
        b"no JSON at all \xe2\x82\xac": "not JSON",
        b'{"action": "start", "timestamp": "2025-10-05T18:00:00Z"}': "stream_id",
        b'{"stream_id": "s", "filler": "' + b"x" * 2**20 + b'"}': "more than",
        b'{"stream_id": "s", "action": "dance"}': "unknown",
        b'{"stream_id": "s", "hls_path": "../x"}': "relative path part",
    }
    for value in wrong:
        world.message(value)
    last = Broadcast(world=world, playlist=clips(SIX_S))
    last.show_whole()
    last.task("process")
    last.completed()
    for value, reason in wrong.items():
        letter = world.dead_letter(reason)
        assert letter.value in (value, value[:1024])
        assert dict(letter.headers)["original-topic"] == b"recording.tasks"
    assert world.recordings("s") == []


def test_everything_that_failed_is_gone(world: World, streams: dict[str, Broadcast]) -> None:
    for live in streams.values():
        live.finished()
        assert live.left_behind() == []
