"""What is recorded so far, as players get it over HTTP."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import m3u8

from pipeline.model import ByteRange, Finding, InitSection, Opened, Segment, SegmentKey, Sound
from tests.unit.api_server import Product, in_process


def segment(number: int, **more: object) -> Segment:
    plain = Segment(sequence=100 + number, uri=f"staged:k/{number}.ts", duration_s=4.0)
    return replace(plain, **more)


async def live(product: Product, *sounds: Sound) -> UUID:
    recording = await product.record("live")
    await product.catalog.open_source(recording.id, Opened(ref="s3://hls/k", sounds=sounds))
    return recording.id


async def find(product: Product, id_: UUID, number: int, *segments: tuple[Segment, ...]) -> None:
    await product.catalog.add_finding(id_, Finding(number=number, segments=segments))


async def test_it_grows_and_ends() -> None:
    product = Product()
    id_ = await live(product)
    async with in_process(product) as http:
        path = f"/recordings/{id_}/live.m3u8"
        assert (await http.get(path)).status_code == 404
        await find(product, id_, 0, (segment(0), segment(1)))
        first = await http.get(path)
        assert first.headers["content-type"] == "application/vnd.apple.mpegurl"
        playlist = m3u8.loads(first.text)
        assert [s.uri for s in playlist.segments] == ["live/0/0.ts", "live/0/1.ts"]
        assert (playlist.playlist_type, playlist.is_endlist) == ("event", False)
        assert (playlist.media_sequence, playlist.target_duration) == (0, 4)
        await find(product, id_, 1, (segment(2),))
        assert (await http.get(path)).text == first.text + "#EXTINF:4.000000,\nlive/0/2.ts\n"
        recording = await product.catalog.get(id_)
        await product.catalog.close_source(id_, recording.last_start_at)
        assert (await http.get(path)).text.endswith("live/0/2.ts\n#EXT-X-ENDLIST\n")
        done = await product.complete(recording)
        assert done.resumable
        # For players that are some segments behind.
        assert (await http.get(path)).text.endswith("live/0/2.ts\n#EXT-X-ENDLIST\n")
        assert (await http.get(f"/recordings/{id_}/live/0/2.ts")).status_code == 307
        await product.catalog.forget_ledger(id_)
        over = await http.get(path)
        assert over.status_code == 404
        assert over.json() == {"error": "The recording is completed, there is nothing live of it"}


async def test_files_are_where_the_store_has_them() -> None:
    product = Product()
    id_ = await live(product)
    init = InitSection(uri="staged:k/init")
    key = SegmentKey(uri="staged:k/key", iv="0" * 32)
    await find(product, id_, 0, (segment(0, init=init, key=key), segment(1, is_gap=True, uri="")))
    async with in_process(product) as http:
        for path, where in (
            ("live/0/0.ts", "http://store/staged:k/0.ts"),
            ("live/0/0/init.mp4", "http://store/staged:k/init"),
            ("live/0/0/key", "http://store/staged:k/key"),
        ):
            answer = await http.get(f"/recordings/{id_}/{path}")
            assert (answer.status_code, answer.headers["location"]) == (307, where)
        for path in (
            "live/0/1.ts",
            "live/0/1/init.mp4",
            "live/0/2.ts",
            "live/1/0.ts",
            "live/1.m3u8",
        ):
            answer = await http.get(f"/recordings/{id_}/{path}")
            assert answer.status_code == 404, path
            assert set(answer.json()) == {"error"}


async def test_all_that_a_player_has_to_know_is_told() -> None:
    product = Product()
    id_ = await live(product)
    init, other = InitSection(uri="staged:a"), InitSection(uri="staged:b")
    await find(
        product,
        id_,
        0,
        (
            segment(0, init=init, program_date_time=datetime(2026, 1, 2, tzinfo=UTC)),
            segment(1, init=init),
            segment(2, init=other, discontinuity=True, key=SegmentKey(uri="k", iv="f" * 32)),
            segment(3, init=other, is_gap=True),
            segment(4, init=other, byte_range=ByteRange(offset=10, length=20), duration_s=4.2),
        ),
    )
    async with in_process(product) as http:
        text = (await http.get(f"/recordings/{id_}/live.m3u8")).text
    found = m3u8.loads(text)
    assert found.target_duration == 5
    assert [bool(s.discontinuity) for s in found.segments] == [False, False, True, False, False]
    assert [s.init_section.uri for s in found.segments] == [
        *["live/0/0/init.mp4"] * 2,
        *["live/0/2/init.mp4"] * 3,
    ]
    assert [bool(s.gap_tag) for s in found.segments] == [False, False, False, True, False]
    assert [s.key.uri if s.key and s.key.uri else None for s in found.segments] == [
        *[None] * 2,
        "live/0/2/key",
        None,
        None,
    ]
    assert found.segments[4].byterange == "20@10"
    assert found.segments[0].program_date_time == datetime(2026, 1, 2, tzinfo=UTC)


async def test_sound_apart_has_playlists_of_its_own() -> None:
    product = Product()
    sounds = (Sound(name='a "b"\n', language="de"), Sound(name="c"))
    id_ = await live(product, *sounds)
    sized = segment(0, size_bytes=500_000)
    await find(product, id_, 0, (sized,), (segment(0, size_bytes=40_000),), ())
    async with in_process(product) as http:
        master = m3u8.loads((await http.get(f"/recordings/{id_}/live.m3u8")).text)
        assert [(m.name, m.language, m.uri) for m in master.media] == [
            ("a b", "de", "live/1.m3u8"),
            ("c", None, "live/2.m3u8"),
        ]
        assert master.playlists[0].stream_info.bandwidth == 8 * 540_000 // 4 + 5_000_000
        assert master.playlists[0].uri == "live/0.m3u8"
        own = m3u8.loads((await http.get(f"/recordings/{id_}/live/1.m3u8")).text)
        assert [s.uri for s in own.segments] == ["1/0.ts"]
