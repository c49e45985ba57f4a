"""Publishers show what their scripts say, and know what they have shown."""

import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from pipeline.media.playlist import MediaPlaylist, parse
from pipeline.stores.objects_folder import FolderStore
from tests.faults.origin import BucketTarget, web_origin
from tests.faults.publisher import Channel, End, Publisher, Run, Script

SEGMENTS, SEGMENT_S = 5, 2.0


@pytest.fixture
def playlist(tmp_path: Path) -> Path:
    return made(tmp_path / "first")


def made(folder: Path, tags: str = "") -> Path:
    """Its segments say where they are from."""
    folder.mkdir()
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-TARGETDURATION:2", "#EXT-X-MEDIA-SEQUENCE:0"]
    lines += ["#EXT-X-PLAYLIST-TYPE:VOD", '#EXT-X-MAP:URI="init.mp4"']
    (folder / "init.mp4").write_bytes(b"init")
    for n in range(SEGMENTS):
        (folder / f"{n}.m4s").write_bytes(f"{folder.name} {n}".encode())
        lines += [f"#EXTINF:{SEGMENT_S:.6f},", f"{n}.m4s"]
    path = folder / "stream.m3u8"
    path.write_text("\n".join([*lines, "#EXT-X-ENDLIST", ""]))
    return path


class Files:
    """A target that can be looked into. ``log``: what was done, in order."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.log: list[str] = []

    def put(self, name: str, data: bytes | Path) -> None:
        self.files[name] = data if isinstance(data, bytes) else data.read_bytes()
        self.log.append(name)

    def delete(self, name: str) -> None:
        del self.files[name]
        self.log.append(f"-{name}")

    def shown(self) -> MediaPlaylist:
        return parsed(self.files["k/stream.m3u8"])


def parsed(data: bytes) -> MediaPlaylist:
    found = parse(data, "k/stream.m3u8")
    assert isinstance(found, MediaPlaylist)
    return found


def sequences(found: MediaPlaylist) -> list[int]:
    return [segment.sequence for segment in found.segments]


def test_one_thing_after_the_other(playlist: Path) -> None:
    target = Files()
    channel = Channel(target, "k", Script(runs=(Run(playlist=playlist, end_after_s=3),)))
    assert channel.step() == 0
    assert channel.step() == SEGMENT_S
    assert target.log == ["k/init.mp4"]
    for n in range(SEGMENTS):
        assert channel.step() == (SEGMENT_S if n + 1 < SEGMENTS else 3)
        assert target.log[-2:] == [f"k/{n}.m4s", "k/stream.m3u8"]
        assert sequences(target.shown()) == list(range(n + 1))
        assert not target.shown().ended
        assert channel.seconds == (n + 1) * SEGMENT_S
    assert not target.shown().ended
    assert channel.step() is None
    assert target.shown().ended
    assert channel.ended_at is not None
    assert [shown.name for shown in channel.published] == [f"{n}.m4s" for n in range(SEGMENTS)]


def test_a_window_slides_and_what_left_it_is_deleted_later(playlist: Path) -> None:
    target = Files()
    script = Script(runs=(Run(playlist=playlist),), window=2, kept=1)
    channel = Channel(target, "k", script)
    while channel.step() is not None:
        pass
    assert sequences(target.shown()) == [3, 4]
    assert channel.gone == ["0.m4s", "1.m4s"]
    assert sorted(target.files) == [
        *("k/2.m4s", "k/3.m4s", "k/4.m4s", "k/init.mp4", "k/stream.m3u8")
    ]
    # Never before the playlist that does without it, and one more.
    assert target.log.index("-k/0.m4s") > target.log.index("k/3.m4s")


@pytest.mark.parametrize("end", ["silence", "gone"])
def test_other_ends(playlist: Path, end: End) -> None:
    target = Files()
    channel = Channel(target, "k", Script(runs=(Run(playlist=playlist, end=end),), already=3))
    channel.step()
    channel.step()
    assert len(channel.published) == 3
    while channel.step() is not None:
        pass
    assert ("k/stream.m3u8" in target.files) == (end == "silence")
    assert end == "gone" or not target.shown().ended


@pytest.mark.parametrize("same_names", [False, True])
def test_an_encoder_that_begins_anew(playlist: Path, tmp_path: Path, same_names: bool) -> None:
    target = Files()
    runs = (
        Run(playlist=playlist, end="silence", pause_s=7),
        Run(playlist=made(tmp_path / "second"), same_names=same_names),
    )
    channel = Channel(target, "k", Script(runs=runs))
    pauses = []
    while (pause := channel.step()) is not None:
        pauses.append(pause)
        if len(channel.published) == SEGMENTS + 1:
            assert sequences(target.shown()) == [0]
    assert pauses.count(7) == 1
    assert sequences(target.shown()) == list(range(SEGMENTS))
    names = [shown.name for shown in channel.published if shown.run == 1]
    assert names == [f"{'' if same_names else '1_'}{n}.m4s" for n in range(SEGMENTS)]
    assert target.files[f"k/{names[2]}"] == b"second 2"
    assert (target.files["k/2.m4s"] == b"first 2") != same_names


def test_real_time_and_faster(playlist: Path) -> None:
    target = Files()
    with Publisher() as publisher:
        began = time.monotonic()
        fast = publisher.add(target, "k", Script(runs=(Run(playlist=playlist),), speed=20))
        later = Script(runs=(Run(playlist=playlist),), speed=100, delay_s=0.3)
        slow = publisher.add(Files(), "other", later)
        publisher.wait(10)
    assert [shown.sequence for shown in fast.published] == list(range(SEGMENTS))
    for channel, delay_s, each_s in ((fast, 0, 0.1), (slow, 0.3, 0.02)):
        for n, shown in enumerate(channel.published, 1):
            due = began + delay_s + n * each_s
            assert due - 0.01 < shown.at < due + channel.late_s + 0.01
    assert fast.ended_at is not None


def test_it_can_be_stopped_in_the_middle(playlist: Path) -> None:
    with Publisher() as publisher:
        channel = publisher.add(Files(), "k", Script(runs=(Run(playlist=playlist),), already=2))
        while not channel.published:
            time.sleep(0.01)
    assert 1 <= len(channel.published) <= 2
    assert channel.ended_at is None


def test_what_cannot_be_written_is_told(playlist: Path) -> None:
    def script(path: Path) -> Script:
        return Script(runs=(Run(playlist=path),), speed=100)

    with Publisher() as publisher:
        (playlist.parent / "3.m4s").unlink()
        broken = publisher.add(Files(), "k", script(playlist))
        with pytest.raises(FileNotFoundError):
            publisher.wait(10)
        publisher._failures.clear()
    assert len(broken.published) == 3


def test_into_a_bucket(playlist: Path, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    store.ensure_bucket("live")
    script = Script(runs=(Run(playlist=playlist),), window=2, kept=0)
    channel = Channel(BucketTarget(store, "live"), "k", script)
    while channel.step() is not None:
        pass
    assert sorted(found.key for found in store.list("live", "")) == [
        *("k/3.m4s", "k/4.m4s", "k/init.mp4", "k/stream.m3u8")
    ]
    assert store.get("live", "k/3.m4s", max_bytes=100) == b"first 3"


def test_a_web_server_that_fails_by_script(playlist: Path) -> None:
    with web_origin({"k/1.m4s": ["503", "reset", "short", "wait:0.2"]}) as origin:
        channel = Channel(origin, "k", Script(runs=(Run(playlist=playlist),)))
        while channel.step() is not None:
            pass
        assert sequences(parsed(httpx.get(origin.url("k")).content)) == list(range(SEGMENTS))
        url = f"{origin.origin}/k/1.m4s"
        assert httpx.get(url).status_code == 503
        with pytest.raises(httpx.NetworkError):
            httpx.get(url)
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(url)
        began = time.monotonic()
        assert httpx.get(url).content == b"first 1"
        assert time.monotonic() - began > 0.2
        assert httpx.get(f"{origin.origin}/k/nothing").status_code == 404
        assert origin.asked["k/1.m4s"] == 4


def test_signed_urls_change_and_expire(playlist: Path, unsigned: Callable[[str], str]) -> None:
    with web_origin(signed_s=2) as origin:
        channel = Channel(origin, "k", Script(runs=(Run(playlist=playlist),)))
        while channel.step() is not None:
            pass

        def look() -> list[str]:
            found = parsed(httpx.get(origin.url("k")).content)
            init = found.segments[0].init
            assert init is not None
            uris = [init.uri, *(segment.uri for segment in found.segments)]
            return [f"{origin.origin}/k/{uri}" for uri in uris]

        first, second = look(), look()
        assert not set(first) & set(second)
        assert [unsigned(uri) for uri in first] == [unsigned(uri) for uri in second]
        with httpx.Client() as http:
            assert [http.get(uri).status_code for uri in first + second] == [200] * 12
        assert httpx.get(unsigned(first[1])).status_code == 403
        assert httpx.get(first[1].replace("/0.m4s", "/1.m4s")).status_code == 403
        time.sleep(2)
        assert {httpx.get(uri).status_code for uri in first + second} == {403}
        assert httpx.get(look()[1]).content == b"first 0"


@pytest.fixture
def unsigned() -> Callable[[str], str]:
    return lambda uri: uri.partition("?")[0]
