"""MP4 that claims more than it holds is refused before FFmpeg makes room for it.

Each of these few bytes made FFmpeg's demuxer allocate hundreds of megabytes to gigabytes, or work
for minutes.
"""

import resource
import struct
import time
import zlib
from collections.abc import Callable
from functools import reduce

import pytest

from pipeline.errors import MediaInvalid
from pipeline.media import boxes
from pipeline.media.bombs import refuse_bombs
from pipeline.media.boxes import make, make_full
from pipeline.media.demux import choose_streams, open_media, packets_of
from pipeline.media.limits import MediaLimits
from pipeline.media.segments import has_own_init, has_torn_boxes
from pipeline.media.sniff import Kind
from tests.media import Form
from tests.media_fixtures import Clips

FORM = Form(container="fmp4", seconds=2)
LIMITS = MediaLimits()
MANY = 2**26
_TRACK, _TABLES = "moov/trak", "moov/trak/mdia/minf/stbl"
Change = Callable[[bytes], bytes]


@pytest.fixture(scope="module")
def init(clips: Clips) -> bytes:
    return (clips(FORM).parent / "init.mp4").read_bytes()


@pytest.fixture(scope="module")
def segment(clips: Clips) -> bytes:
    return (clips(FORM).parent / "seg_00000.m4s").read_bytes()


def changed(data: bytes, path: str, change: Change) -> bytes:
    """The first box at ``path`` is another one, and what holds it as long as it is then."""
    head, _, rest = path.partition("/")
    box = boxes.need(data, head)
    old, inner = data[box.start : box.end], data[box.body : box.end]
    new = make(box.kind, changed(inner, rest, change)) if rest else change(old)
    return data[: box.start] + new + data[box.end :]


def inside(*inner: bytes) -> Change:
    """More in the same box."""
    return lambda box: make(box[4:8], box[8:], *inner)


def words(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


def nested(depth: int) -> bytes:
    return reduce(lambda inner, _: make(b"udta", inner), range(depth), b"")


SAMPLES = make_full(b"stsz", 0, 0, words(1, MANY))
ITEMS = make_full(b"iinf", 1, 0, words(MANY))
KEYS = make_full(b"keys", 0, 0, words(MANY))
EDITS = make(b"edts", make_full(b"elst", 0, 0, words(50_000), bytes(600_000)))
ZIPPED = make(b"cmov", make(b"dcom", b"zlib"), make(b"cmvd", zlib.compress(bytes(2**20))))
IN_HEAD: dict[str, tuple[str, Change]] = {
    "samples": (_TABLES, inside(SAMPLES)),
    "samples elsewhere": (_TRACK, inside(make(b"wave", SAMPLES))),
    "edits": (_TRACK, inside(EDITS, make_full(b"stsz", 0, 0, words(1, 1000)))),
    "streams": ("moov", inside(*[make(b"trak")] * 70)),
    "compressed": ("moov", lambda _: make(b"moov", ZIPPED)),
    "hidden": ("moov", lambda _: make(b"free", ZIPPED)),
    "keys": ("moov", inside(make(b"meta", KEYS))),
    "keys as ISO has them": ("moov", inside(make_full(b"meta", 0, 0, KEYS))),
    "items": ("moov", inside(ITEMS)),
    "items in a sample entry": (f"{_TABLES}/stsd", inside(ITEMS)),
    "groups": ("moov", inside(make_full(b"sgpd", 0, 0, b"sync", words(MANY)))),
    "later groups": ("moov", inside(make_full(b"sgpd", 1, 0, b"sync", words(1, MANY)))),
    "nested": ("moov", inside(nested(100))),
}


@pytest.mark.parametrize(("path", "change"), IN_HEAD.values(), ids=IN_HEAD.keys())
def test_heads(path: str, change: Change, init: bytes, segment: bytes) -> None:
    assert_refused(changed(init, path, change), segment)


@pytest.mark.parametrize("runs", [1, 64])
def test_fragments(runs: int, init: bytes, segment: bytes) -> None:
    """Samples of equal size and duration need no bytes in ``trun``."""
    run = make_full(b"trun", 0, 1, words(MANY // runs, 100))
    assert_refused(init, changed(segment, "moof/traf/trun", lambda _: run * runs))


def test_what_lies_across_two_pieces(init: bytes, segment: bytes) -> None:
    """FFmpeg reads them as one, whatever is cut where."""
    bomb = changed(segment, "moof/traf/trun", lambda _: make_full(b"trun", 0, 0, words(MANY)))
    begin = boxes.need(bomb, "moof").start + 20
    assert_refused(init + bomb[:begin], bomb[begin:])
    assert_refused(init + bomb[: len(bomb) - 100])


def assert_refused(*pieces: bytes) -> None:
    with pytest.raises(MediaInvalid, match=r"more than|no room|compressed|belong"):
        refuse_bombs(pieces, LIMITS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(MediaInvalid), open_media(Kind.MP4, pieces):
        pass
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 100 * 1024


def test_what_is_well_passes(init: bytes, segment: bytes) -> None:
    refuse_bombs([init, segment, segment[: len(segment) // 2]], LIMITS)
    refuse_bombs([init + segment], LIMITS)
    refuse_bombs([], LIMITS)


@pytest.mark.parametrize("unit", [make(b"free"), make(b"moof"), make(b"udta", make(b"free") * 500)])
def test_millions_of_boxes_take_seconds(unit: bytes, init: bytes) -> None:
    data = init + unit * (32 * 2**20 // len(unit))
    begin = time.perf_counter()
    assert_refused(data)
    has_torn_boxes(data)
    has_own_init(data)
    assert time.perf_counter() - begin < 15


def test_packets_are_counted(init: bytes, segment: bytes) -> None:
    def count(limits: MediaLimits) -> int:
        with open_media(Kind.MP4, [init, segment], limits=limits) as source:
            return sum(1 for _ in packets_of(source, choose_streams(source).kept, limits))

    found = count(LIMITS)
    assert count(MediaLimits(max_packets=found)) == found
    with pytest.raises(MediaInvalid, match="MAX_PACKETS"):
        count(MediaLimits(max_packets=found - 1))


def test_pictures_are_measured(clips: Clips) -> None:
    data = (clips(Form(seconds=2)).parent / "seg_00000.ts").read_bytes()
    with open_media(Kind.TS, [data], limits=MediaLimits(max_pixels=128 * 72)):
        pass
    with (
        pytest.raises(MediaInvalid, match=r"128 x 72.*MAX_PICTURE_PIXELS"),
        open_media(Kind.TS, [data], limits=MediaLimits(max_pixels=128 * 72 - 1)),
    ):
        pass
