"""What a playlist may point to, and what it may not."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PlaylistInvalid, SourceForbidden, SourceMissing, UsageError, VodrayError
from pipeline.media.playlist import MAX_PLAYLIST_BYTES, PlaylistLimits
from pipeline.model import Segment
from pipeline.source import (
    MAX_VARIANTS,
    FileSource,
    S3Source,
    Source,
    WebRules,
    WebSource,
    fingerprint,
    open_presentation,
    open_source,
)
from pipeline.stores.objects_memory import MemoryStore

OUTSIDE = [
    "../../etc/passwd",
    "../../../../../../../../etc/passwd",
    "%2e%2e/%2e%2e/etc/passwd",
    "%2E%2E%2F%2E%2E%2Fetc%2Fpasswd",
    "..%2f..%2fetc/passwd",
    "a/../../../etc/passwd",
    "file:///etc/passwd",
    "file:/etc/passwd",
    "FILE:///etc/passwd",
    "//evil.example/a.ts",
    "http://evil.example/a.ts",
    "https://169.254.169.254/latest/meta-data",
    "http://127.0.0.1:9/a.ts",
    "ftp://evil.example/a.ts",
    "gopher://evil.example/",
    "s3://other-bucket/a.ts",
    "data:text/plain,hello",
    "concat:a.ts|/etc/passwd",
]


@pytest.fixture
def store() -> MemoryStore:
    made = MemoryStore()
    made.ensure_bucket("live")
    made.put("live", "key/stream.m3u8", b"#EXTM3U\n", "")
    made.put("live", "key/a.ts", b"12345", "")
    return made


@pytest.mark.parametrize("uri", OUTSIDE)
def test_a_playlist_file_cannot_point_outside_its_folder(uri: str, tmp_path: Path) -> None:
    with pytest.raises(SourceForbidden) as caught:
        FileSource(tmp_path / "stream.m3u8").resolve(uri)
    assert "root:" not in str(caught.value)


@pytest.mark.parametrize("uri", [*OUTSIDE, "/etc/passwd"])
def test_links_and_absolute_paths_do_not_lead_out_either(uri: str, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret.ts").write_bytes(b"secret")
    (inside / "link.ts").symlink_to(tmp_path / "secret.ts")
    source = FileSource(inside / "stream.m3u8")
    for bad in (uri, "link.ts", "../secret.ts", str(tmp_path / "secret.ts")):
        with pytest.raises(SourceForbidden):
            source.resolve(bad)


@pytest.mark.parametrize("uri", [u for u in OUTSIDE if not u.startswith(("a/", "..", "%2"))])
def test_a_playlist_in_a_bucket_cannot_point_to_hosts_and_files(
    uri: str, store: MemoryStore
) -> None:
    with pytest.raises(SourceForbidden):
        S3Source(store, "live", "key/stream.m3u8").resolve(uri)


@given(st.text(st.sampled_from("./%2eEfF\\a:?#@[] s3"), max_size=20))
def test_whatever_a_playlist_says_its_bucket_is_not_left(uri: str) -> None:
    try:
        ref = S3Source(MemoryStore(), "live", "key/stream.m3u8").resolve(uri)
    except SourceForbidden:
        return
    assert ref.startswith("s3://live/")
    assert ".." not in ref.split("/")


@given(st.text(st.sampled_from("./%2eEfF\\a:?#@[] \0s"), max_size=20))
def test_whatever_a_playlist_says_its_folder_is_not_left(uri: str) -> None:
    folder = Path("/nowhere/at/all")
    try:
        ref = FileSource(folder / "stream.m3u8").resolve(uri)
    except SourceForbidden:
        return
    assert ref.startswith(folder.as_uri())


def test_names_in_a_bucket(store: MemoryStore) -> None:
    source = S3Source(store, "live", "key/stream.m3u8")
    assert source.resolve("a.ts") == "s3://live/key/a.ts"
    assert source.resolve("sub/b%20c.ts?x=1") == "s3://live/key/sub/b c.ts"
    assert source.resolve("../other/a.ts") == "s3://live/other/a.ts"
    assert source.resolve("/root.ts") == "s3://live/root.ts"
    assert source.resolve("\u00fc+.ts") == "s3://live/key/\u00fc+.ts"
    assert source.sizes()["s3://live/key/a.ts"] == 5
    assert source.variant("720p/v.m3u8").ref == "s3://live/key/720p/v.m3u8"
    assert source.url("s3://live/key/a.ts").startswith("memory://")
    allowed = S3Source(store, "live", "key/stream.m3u8", WebRules(["cdn.example"]))
    assert allowed.resolve("https://cdn.example/a.ts") == "https://cdn.example/a.ts"


def test_names_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a b.ts").write_bytes(b"123")
    source = FileSource(tmp_path / "stream.m3u8")
    ref = source.resolve("a%20b.ts?token=1#x")
    assert ref == (tmp_path.resolve() / "a b.ts").as_uri()
    assert source.sizes() == {ref: 3}
    variant = source.variant("low/v.m3u8")
    assert variant.resolve("../a%20b.ts") == ref
    with pytest.raises(SourceForbidden):
        variant.resolve("../../x.ts")


def test_playlists_that_are_not_there(store: MemoryStore, tmp_path: Path) -> None:
    for source in (
        S3Source(store, "live", "none/stream.m3u8"),
        FileSource(tmp_path / "none.m3u8"),
        FileSource(tmp_path),
    ):
        with pytest.raises(SourceMissing, match="There is no playlist at"):
            source.read_playlist()


def test_endless_playlists_are_not_read_to_their_end(tmp_path: Path) -> None:
    path = tmp_path / "stream.m3u8"
    with path.open("wb") as file:
        file.truncate(10 * MAX_PLAYLIST_BYTES)
    assert len(FileSource(path).read_playlist()) == MAX_PLAYLIST_BYTES + 1


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://cdn.example/a", ["cdn.example"]),
        ("http://CDN.example:8080/a", ["cdn.example"]),
        ("https://cdn.example:8443/a", ["cdn.example:8443"]),
        ("http://user:secret@cdn.example/a", ["cdn.example"]),
        ("http://cdn.example./a", ["cdn.example"]),
        ("https://cdn.example/a", ["cdn.example:443"]),
        ("http://cdn.example:080/a", ["cdn.example:80"]),
        ("http://b\u00fccher.example/a", ["xn--bcher-kva.example"]),
        ("http://xn--bcher-kva.example/a", ["b\u00fccher.example"]),
        ("http://[::1]:8080/a", ["[0::1]:8080"]),
        ("http://127.0.0.1:9000/a", ["127.0.0.1:9000"]),
    ],
)
def test_allowed_hosts(url: str, allowed: list[str]) -> None:
    assert WebSource(url, WebRules(allowed)).ref == url


@pytest.mark.parametrize(
    "url",
    [
        "http://evil.example/a",
        "http://cdn.example.evil.example/a",
        "http://cdn.example@evil.example/a",
        "http://evil.example/cdn.example",
        "http://evil.example#cdn.example",
        "http://evil.example?cdn.example",
        "http://cdn.example:1/a",
        "ftp://cdn.example:8443/a",
        "file://cdn.example:8443/etc/passwd",
        "http:///a",
        "",
        "http://cdn.example:8443@evil.example/a",
        "http://evil.example\\@cdn.example.evil.example:8443/a",
        "http://evil.example%00.cdn.example:8443/a",
        "http://cdn.example:8443.evil.example/a",
        "http://cdn..example:8443/a",
        "http://[cdn.example:8443]/a",
        "http://cdn.example:99999/a",
        "http://cdn.example:x/a",
        "http://cdn.example/a",
        "http://\u2024/a",
    ],
)
def test_other_hosts_and_schemes_are_refused(url: str) -> None:
    with pytest.raises(SourceForbidden):
        WebRules(["cdn.example:8443"]).check(url)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "0", "127.1", "2130706433", "0x7f000001", "0177.0.0.1"),
        *("[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "\uff11\uff12\uff17.0.0.1"),
        *("10.0.0.1", "192.168.0.1", "169.254.169.254"),
        *("localhost", "LOCALHOST.", "metadata.google.internal"),
    ],
)
def test_addresses_of_the_machine_and_its_network_are_read_only_if_named(host: str) -> None:
    for rules in (WebRules(), WebRules(["cdn.example", "127.0.0.1:9000", "[::1]:9000"])):
        with pytest.raises(SourceForbidden):
            rules.check(f"http://{host}:80/a")


def test_nobody_typed_a_host() -> None:
    with pytest.raises(SourceForbidden):
        WebRules().plus("")


def test_a_web_playlist_stays_on_allowed_hosts() -> None:
    source = WebSource("https://cdn.example/live/stream.m3u8", WebRules(["cdn.example"]))
    assert source.resolve("../a.ts") == "https://cdn.example/a.ts"
    assert source.resolve("//cdn.example/a.ts") == "https://cdn.example/a.ts"
    for uri in ("//evil.example/a.ts", "http://evil.example/a.ts", "file:///etc/passwd"):
        with pytest.raises(SourceForbidden):
            source.resolve(uri)


@pytest.mark.parametrize(
    ("ref", "opened"),
    [
        ("key/stream.m3u8", "s3://live/key/stream.m3u8"),
        ("/key/stream.m3u8", "s3://live/key/stream.m3u8"),
        ("live/key/stream.m3u8", "s3://live/key/stream.m3u8"),
        ("s3://live/key/stream.m3u8", "s3://live/key/stream.m3u8"),
        ("https://cdn.example/s.m3u8", "https://cdn.example/s.m3u8"),
    ],
)
def test_what_an_event_names(ref: str, opened: str, store: MemoryStore) -> None:
    found = open_source(ref, store=store, source_bucket="live", allowed_hosts=["cdn.example"])
    assert found.ref == opened


@pytest.mark.parametrize(
    "ref",
    [
        "s3://recordings/talk.mp4",
        "../recordings/talk.mp4",
        "live/../recordings/talk.mp4",
        "https://evil.example/s.m3u8",
        "s3://live/",
        "/",
        "",
    ],
)
def test_what_an_event_may_not_name(ref: str, store: MemoryStore) -> None:
    with pytest.raises(SourceForbidden):
        open_source(ref, store=store, source_bucket="live", allowed_hosts=["cdn.example"])


def test_a_file_url_in_an_event_is_a_key_that_is_not_there(store: MemoryStore) -> None:
    with pytest.raises(VodrayError):
        open_source(
            "file:///etc/passwd", store=store, source_bucket="live", allowed_hosts=[]
        ).read_playlist()
    with pytest.raises(UsageError):
        open_source("key/s.m3u8", store=None, source_bucket="live", allowed_hosts=[])


def test_a_fingerprint_changes_with_the_broadcast(store: MemoryStore) -> None:
    source = S3Source(store, "live", "key/stream.m3u8")
    first = Segment(sequence=0, uri="a.ts", duration_s=2.0)
    mark = fingerprint(source, first)
    assert fingerprint(source, first) == mark
    store.put("live", "key/a.ts", b"another broadcast", "")
    assert fingerprint(source, first) != mark


def test_not_every_variant_of_thousands_is_tried(store: MemoryStore) -> None:
    lines = [f"#EXT-X-STREAM-INF:BANDWIDTH={n}\nv{n}.m3u8" for n in range(1, 5_001)]
    store.put("live", "key/master.m3u8", "\n".join(["#EXTM3U", *lines]).encode(), "")
    asked: list[str] = []

    class Watched(S3Source):
        def variant(self, uri: str) -> Source:
            asked.append(uri)
            return super().variant(uri)

    with pytest.raises(SourceMissing):
        open_presentation(Watched(store, "live", "key/master.m3u8"))
    assert asked == [f"v{n}.m3u8" for n in range(5_000, 5_000 - MAX_VARIANTS, -1)]


def test_limits_hold_for_every_playlist_of_a_source(store: MemoryStore, tmp_path: Path) -> None:
    limits = PlaylistLimits(max_bytes=2**10)
    found = S3Source(store, "live", "key/a.m3u8", WebRules(["cdn.example"]), limits)
    assert found.variant("b.m3u8").limits is limits
    assert found.variant("http://cdn.example/b.m3u8").limits is limits
    assert WebSource("http://cdn.example/", WebRules(["cdn.example"]), limits).limits is limits
    path = tmp_path / "stream.m3u8"
    path.write_bytes(b"#EXTM3U\n" + b"#" * 2**20)
    source = FileSource(path, limits=limits)
    assert len(source.read_playlist()) == 2**10 + 1
    assert source.variant("b.m3u8").limits is limits
    with pytest.raises(PlaylistInvalid, match="larger"):
        open_presentation(source)
