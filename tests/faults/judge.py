"""Whether what came out is what went in, and whether anything else is left."""

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import zip_longest
from pathlib import Path

import httpx

from pipeline.stores.objects import ObjectStore
from tests.e2e.world import World
from tests.faults.prepared import Entry, Prepared
from tests.media import Packet, packets, remux_with_ffmpeg

# A sample of 48 kHz, and a half for rounding.
TOLERANCE_S = 1.5 / 48_000
_STAGING = ".vodray/"
_DASHBOARD_S = 20.0
# Of Python's own multiprocessing, which Ray uses: sockets and folders of killed processes.
_OTHERS = ("pymp-", "ray")


# --- the media -------------------------------------------------------------------------------
def assert_undisturbed(
    mp4: Path, playlists: Sequence[Path], folder: Path, *, tolerance_s: float = TOLERANCE_S
) -> None:
    """``mp4`` has the packets of the playlists, one after the other: each once, at its time up to
    one offset for each playlist. ``folder``: for what FFmpeg makes of the playlists."""
    runs = [
        packets(remux_with_ffmpeg(playlist, folder / f"undisturbed-{number}.mp4"))
        for number, playlist in enumerate(playlists)
    ]
    wrong = differences(packets(mp4), runs, tolerance_s)
    assert not wrong, "; ".join(wrong)


def differences(
    found: Sequence[Packet], runs: Sequence[Sequence[Packet]], tolerance_s: float = TOLERANCE_S
) -> list[str]:
    """What is missing, there twice, strange, out of order or at another time, by stream."""
    streams = sorted({packet.stream for run in (found, *runs) for packet in run})
    wrong: list[str] = []
    for stream in streams:
        wanted = [packet for run in runs for packet in run if packet.stream == stream]
        wrong += _content(stream, _of(found, stream), wanted)
    return wrong or _times(found, runs, streams, tolerance_s)


def _of(found: Sequence[Packet], stream: int) -> list[Packet]:
    return [packet for packet in found if packet.stream == stream]


def _content(stream: int, found: Sequence[Packet], wanted: Sequence[Packet]) -> list[str]:
    ours, theirs = [p.digest for p in found], [p.digest for p in wanted]
    if ours == theirs:
        return []
    pairs = enumerate(zip_longest(ours, theirs))
    first = next(number for number, (mine, other) in pairs if mine != other)
    missing, more = Counter(theirs) - Counter(ours), Counter(ours) - Counter(theirs)
    strange = Counter({digest: n for digest, n in more.items() if digest not in set(theirs)})
    counts = {
        "missing": missing.total(),
        "there twice": (more - strange).total(),
        "strange": strange.total(),
    }
    told = [f"{number} {what}" for what, number in counts.items() if number] or ["out of order"]
    at = wanted[min(first, len(wanted) - 1)].dts if wanted else 0
    return [
        f"stream {stream}: {', '.join(told)} of {len(wanted)} packets,"
        f" from number {first} at {float(at):.3f} s"
    ]


def _times(
    found: Sequence[Packet],
    runs: Sequence[Sequence[Packet]],
    streams: Sequence[int],
    tolerance_s: float,
) -> list[str]:
    """``found`` has the right packets. The offset of a run is that of its first one."""
    wrong = []
    ours = {stream: iter(_of(found, stream)) for stream in streams}
    for number, run in enumerate(runs):
        pairs = [(next(ours[p.stream]), p) for stream in streams for p in _of(run, stream)]
        offset = pairs[0][0].pts - pairs[0][1].pts if pairs else 0
        told: set[int] = set()
        for mine, other in pairs:
            off = max(abs(mine.pts - other.pts - offset), abs(mine.dts - other.dts - offset))
            if off > tolerance_s and other.stream not in told:
                told.add(other.stream)
                wrong.append(
                    f"stream {other.stream}, run {number}: {float(off):.6f} s off"
                    f" at {float(other.dts):.3f} s"
                )
    return wrong


def without(playlist: Path, lost: Collection[int], folder: Path) -> list[Path]:
    """Playlists of what is left of one whose numbers begin at 0, one for each uninterrupted run.
    ``folder``: for the new ones."""
    if not lost:
        return [playlist]
    folder.mkdir(parents=True, exist_ok=True)
    prepared = Prepared(playlist)
    runs: list[list[Entry]] = [[]]
    for number, entry in enumerate(prepared.entries):
        if number not in lost:
            runs[-1].append(entry)
        elif runs[-1]:
            runs.append([])
    paths = []
    for run in filter(None, runs):
        path = folder / f"left-{len(paths)}.m3u8"
        lines = [line for entry in run for line in (*entry.tags, str(entry.path))]
        path.write_text("\n".join([*prepared.head, *lines, "#EXT-X-ENDLIST", ""]))
        paths.append(path)
    return paths


# --- what is left ------------------------------------------------------------------------------
def left_in_bucket(store: ObjectStore, bucket: str) -> list[str]:
    """Staging objects, and uploads that were not finished, of whatever recording."""
    staged = [f"object {found.key}" for found in store.list(bucket, _STAGING)]
    return staged + [f"upload of {found.key}" for found in store.uploads(bucket, "")]


def left_in_ledger(world: World) -> list[str]:
    """Rows that are of use only while a recording is unfinished, or may go on."""
    counts = world.rows(
        """SELECT 'uploads' AS name, count(*) FROM uploads
        UNION ALL SELECT 'sources', count(*) FROM sources
        UNION ALL SELECT 'findings', count(*) FROM findings
        UNION ALL SELECT 'chunks', count(*) FROM chunks
        UNION ALL SELECT 'chunk_results', count(*) FROM chunk_results"""
    )
    return [f"{row['count']} rows in {row['name']}" for row in counts if row["count"]]


def live_actors(dashboard: str, token: str) -> Counter[str]:
    """How many there are of each class, of all that are not dead. ``token``: of this Ray."""
    answer = httpx.get(
        f"{dashboard}/api/v0/actors",
        params={"limit": 10_000},
        headers={"Authorization": f"Bearer {token}"},
        timeout=_DASHBOARD_S,
    )
    actors = answer.raise_for_status().json()["data"]["result"]["result"]
    return Counter(actor["class_name"] for actor in actors if actor["state"] != "DEAD")


def temporary_files(folder: Path) -> list[str]:
    """Files of ours below ``TMPDIR``."""
    return sorted(
        f"file {path.relative_to(folder)}"
        for path in folder.rglob("*")
        if path.is_file() and not path.relative_to(folder).parts[0].startswith(_OTHERS)
    )
