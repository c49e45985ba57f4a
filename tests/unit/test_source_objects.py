"""Which objects of a source may be deleted: those of its own folder that the recording's playlist
names, from where the recording began."""

from collections.abc import Sequence

import pytest

from pipeline.errors import SourceMissing
from pipeline.source import S3Source, fingerprint, open_presentation
from pipeline.source_objects import objects_named
from pipeline.stores.objects_memory import MemoryStore

BUCKET = "live"


@pytest.fixture
def store() -> MemoryStore:
    made = MemoryStore()
    made.ensure_bucket(BUCKET)
    return made


def put(store: MemoryStore, *names: str) -> None:
    for name in names:
        store.put(BUCKET, name, name.encode(), "")


def playlist(store: MemoryStore, key: str, segments: Sequence[str], first: int = 0) -> S3Source:
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:4", f"#EXT-X-MEDIA-SEQUENCE:{first}"]
    for segment in segments:
        lines += ["#EXTINF:4,", segment]
    store.put(BUCKET, key, "\n".join([*lines, "#EXT-X-ENDLIST", ""]).encode(), "")
    return S3Source(store, BUCKET, key)


def mark(source: S3Source, at: int = 0) -> str:
    found = open_presentation(source)
    return fingerprint(found.source, found.playlist.segments[at])


def named(store: MemoryStore, source: S3Source, fingerprint: str) -> set[str]:
    etags = objects_named(source, fingerprint, store, BUCKET)
    assert all(etag == store.stat(BUCKET, key).etag for key, etag in etags.items())
    return set(etags)


def test_what_the_playlist_names_and_the_playlist(store: MemoryStore) -> None:
    put(store, "k/0.ts", "k/1.ts", "k/other.ts", "k/notes.txt", "k2/0.ts")
    source = playlist(store, "k/stream.m3u8", ["0.ts", "1.ts", "gone.ts"])
    names = list(objects_named(source, mark(source), store, BUCKET))
    assert names == ["k/0.ts", "k/1.ts", "k/stream.m3u8"]


def test_inits_keys_and_sound(store: MemoryStore) -> None:
    put(store, "k/v0.m4s", "k/v.mp4", "k/a/0.ts", "k/key.bin", "k/master.m3u8", "k/other.ts")
    text = '#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MAP:URI="v.mp4"\n#EXTINF:4,\nv0.m4s\n'
    store.put(BUCKET, "k/v.m3u8", text.encode(), "")
    text = '#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-KEY:METHOD=AES-128,URI="../key.bin"\n'
    store.put(BUCKET, "k/a/a.m3u8", f"{text}#EXTINF:4,\n0.ts\n".encode(), "")
    text = (
        '#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="en",URI="a/a.m3u8"\n'
        '#EXT-X-STREAM-INF:BANDWIDTH=1000,AUDIO="a"\nv.m3u8\n'
    )
    store.put(BUCKET, "k/master.m3u8", text.encode(), "")
    source = S3Source(store, BUCKET, "k/master.m3u8")
    assert named(store, source, mark(source)) == {
        *("k/v0.m4s", "k/v.mp4", "k/v.m3u8"),
        *("k/a/0.ts", "k/key.bin", "k/a/a.m3u8"),
    }


def test_nothing_of_another_folder(store: MemoryStore) -> None:
    put(store, "k/0.ts", "victim/0.ts")
    source = playlist(store, "k/stream.m3u8", ["0.ts", "../victim/0.ts", "/victim/0.ts"])
    assert named(store, source, mark(source)) == {"k/0.ts", "k/stream.m3u8"}


def test_nothing_of_a_playlist_at_the_top(store: MemoryStore) -> None:
    put(store, "0.ts", "k/0.ts")
    source = playlist(store, "stream.m3u8", ["0.ts", "k/0.ts"])
    assert named(store, source, mark(source)) == set()


def test_nothing_of_another_broadcast(store: MemoryStore) -> None:
    put(store, "k/0.ts", "k/1.ts")
    recorded = mark(playlist(store, "k/stream.m3u8", ["0.ts", "1.ts"]))
    store.put(BUCKET, "k/0.ts", b"the next broadcast", "")
    source = playlist(store, "k/stream.m3u8", ["0.ts"])
    assert named(store, source, recorded) == set()


def test_of_a_playlist_that_goes_on_only_what_is_the_recordings(store: MemoryStore) -> None:
    put(store, "k/0.ts", "k/1.ts", "k/2.ts", "k/3.ts")
    source = playlist(store, "k/stream.m3u8", ["0.ts", "1.ts", "2.ts", "3.ts"])
    assert named(store, source, mark(source, at=2)) == {"k/2.ts", "k/3.ts"}


def test_a_playlist_that_is_gone(store: MemoryStore) -> None:
    with pytest.raises(SourceMissing):
        objects_named(S3Source(store, BUCKET, "k/stream.m3u8"), "f", store, BUCKET)
