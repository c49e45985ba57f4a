"""What vodray is compared with: FFmpeg as people script it, and the bare transfer as the limit.

Transfers run in processes of their own, several at a time, and go through ``pipeline.transfer``:
the peers read and write S3 as cheaply as we can.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import psutil

from bench.media import ffmpeg
from bench.run import Contender
from pipeline.follow import absolute
from pipeline.media.playlist import MediaPlaylist
from pipeline.model import Part, Segment
from pipeline.plan import begin, extend
from pipeline.source import S3Source, read_media_playlist
from pipeline.stores.objects import ObjectStore
from pipeline.transfer import TransferLimits, fetch, store

# As many transfers at a time as the service's workers make: two chunks per core, four each.
_MOVERS_PER_CORE = 2
_TRANSFERS = 4
_PART_BYTES = 16 * 2**20
# That of the service's workers: whatever else runs on the machine must not slow only us.
_NICENESS = 15
_EXPIRES_S = 24 * 3600
_FFMPEG_TIMEOUT_S = 3600.0
_LIMITS = TransferLimits(timeout_s=120.0, attempts=3, retry_delay_s=1.0, max_bytes=2**30)

_threads = ThreadPoolExecutor(_TRANSFERS)


@dataclass(slots=True)
class Movers:
    """Processes that transfer. Started and warm before anything is timed."""

    pool: ProcessPoolExecutor = field(
        default_factory=lambda: ProcessPoolExecutor(
            _MOVERS_PER_CORE * (psutil.cpu_count() or 1),
            mp_context=get_context("spawn"),
            initializer=os.nice,
            initargs=(_NICENESS,),
        )
    )

    def stop(self) -> None:
        self.pool.shutdown()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The stream in S3 that everyone reads, and where everyone writes."""

    objects: ObjectStore
    source_bucket: str
    playlist_key: str
    bucket: str
    scratch: Path

    @property
    def hls_path(self) -> str:
        """As it is announced."""
        return f"{self.source_bucket}/{self.playlist_key}"


def warm(movers: Movers) -> None:
    for _ in movers.pool.map(_ready, range(_MOVERS_PER_CORE * (psutil.cpu_count() or 1) * 2)):
        pass


def bare_transfer(place: Place, movers: Movers, name: str) -> None:
    """(c) The limit: the same bytes read and written in the same pieces, and nothing else."""
    key = f"{name}.mp4"
    source, playlist = _playlist(place)
    sizes = source.sizes()
    located = [absolute(segment, source, sizes) for segment in playlist.segments]
    _, chunks = extend(begin(0, 1.0), [located], ended=True)
    upload = place.objects.create_upload(place.bucket, key, "video/mp4")
    jobs = [
        movers.pool.submit(
            _move,
            [source.url(segment.uri) for segment in chunk.main.segments],
            place.objects.presign_put_part(place.bucket, key, upload, number, expires_s=_EXPIRES_S),
            number,
        )
        for number, chunk in enumerate(chunks, 1)
    ]
    parts = [job.result() for job in jobs]
    place.objects.complete_upload(place.bucket, key, upload, parts)


def download_concat_upload(place: Place, movers: Movers, name: str) -> None:
    """(a) Download everything, join it with FFmpeg's concat demuxer, upload the file."""
    folder = place.scratch / name
    folder.mkdir(parents=True)
    try:
        source, playlist = _playlist(place)
        urls = _urls(source, playlist)
        paths = [folder / f"{number:06d}.ts" for number in range(len(urls))]
        list(movers.pool.map(_download, urls, map(str, paths), chunksize=8))
        listing = folder / "list.txt"
        listing.write_text("".join(f"file '{path}'\n" for path in paths))
        made = folder / "out.mp4"
        _ffmpeg("-f", "concat", "-safe", "0", "-i", str(listing), *_TO_MP4, str(made))
        _upload(place, movers, made, f"{name}.mp4")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def stream_copy_upload(place: Place, movers: Movers, name: str) -> None:
    """(b) Let FFmpeg read the playlist through presigned URLs, then upload the file."""
    folder = place.scratch / name
    folder.mkdir(parents=True)
    try:
        playlist_url = _presigned_playlist(place, name)
        made = folder / "out.mp4"
        _ffmpeg(*_TRUSTING, "-i", playlist_url, *_TO_MP4, str(made))
        _upload(place, movers, made, f"{name}.mp4")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def scripts(place: Place, movers: Movers) -> tuple[Contender, Contender]:
    """What people write who copy a stream into an MP4."""
    return (
        Contender(
            name="concat",
            title="(a) download, ffmpeg concat to faststart MP4, upload",
            run=lambda name: download_concat_upload(place, movers, name),
        ),
        Contender(
            name="stream",
            title="(b) ffmpeg from presigned playlist to faststart MP4, upload",
            run=lambda name: stream_copy_upload(place, movers, name),
        ),
    )


def encode_upload(
    place: Place,
    movers: Movers,
    name: str,
    reading: Sequence[str],
    writing: Sequence[str],
    *,
    share: tuple[int, int] = (0, 1),
) -> None:
    """Let FFmpeg read the playlist through presigned URLs and encode, then upload what it made.

    ``reading``, ``writing``: FFmpeg's arguments before the input and behind it, with outputs in the
    working folder. ``main.mp4`` becomes ``{name}.mp4``, any other ``{name}/{file}``. ``share``: the
    one with this number (from 0) of so many equal ones that the stream is divided into.
    """
    folder = place.scratch / name
    folder.mkdir(parents=True)
    try:
        playlist_url = _presigned_playlist(place, name, share)
        _ffmpeg(*reading, *_TRUSTING, "-i", playlist_url, *writing, folder=folder)
        for made in sorted(folder.glob("*.mp4")):
            is_main = made.stem == "main"
            _upload(place, movers, made, f"{name}.mp4" if is_main else f"{name}/{made.name}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_TRUSTING = ("-allowed_extensions", "ALL", "-extension_picky", "0")
_TO_MP4 = ("-map", "0:v", "-map", "0:a", "-c", "copy", "-movflags", "+faststart")


def _playlist(place: Place) -> tuple[S3Source, MediaPlaylist]:
    source = S3Source(place.objects, place.source_bucket, place.playlist_key)
    return source, read_media_playlist(source)


def _urls(source: S3Source, playlist: MediaPlaylist) -> list[str]:
    return [source.url(source.resolve(segment.uri)) for segment in playlist.segments]


def _presigned_playlist(place: Place, name: str, share: tuple[int, int] = (0, 1)) -> str:
    source, playlist = _playlist(place)
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", f"#EXT-X-TARGETDURATION:{_target_s(playlist.segments)}"]
    located = list(zip(playlist.segments, _urls(source, playlist), strict=True))
    first, behind = ((share[0] + step) * len(located) // share[1] for step in (0, 1))
    for segment, url in located[first:behind]:
        lines += [f"#EXTINF:{segment.duration_s:.6f},", url]
    key = f"{name}.m3u8"
    text = "\n".join([*lines, "#EXT-X-ENDLIST", ""])
    place.objects.put(place.bucket, key, text.encode(), "application/vnd.apple.mpegurl")
    return place.objects.presign_get(place.bucket, key, expires_s=_EXPIRES_S)


def _target_s(segments: Sequence[Segment]) -> int:
    return round(max(segment.duration_s for segment in segments))


def _upload(place: Place, movers: Movers, path: Path, key: str) -> None:
    upload = place.objects.create_upload(place.bucket, key, "video/mp4")
    offsets = range(0, path.stat().st_size, _PART_BYTES)
    jobs = [
        movers.pool.submit(
            _send,
            str(path),
            offset,
            place.objects.presign_put_part(place.bucket, key, upload, number, expires_s=_EXPIRES_S),
            number,
        )
        for number, offset in enumerate(offsets, 1)
    ]
    place.objects.complete_upload(place.bucket, key, upload, [job.result() for job in jobs])


def _ffmpeg(*arguments: str, folder: Path | None = None) -> None:
    subprocess.run(
        [
            "nice",
            "-n",
            str(_NICENESS),
            ffmpeg(),
            "-hide_banner",
            "-nostdin",
            "-loglevel",
            "error",
            "-y",
            *arguments,
        ],
        check=True,
        timeout=_FFMPEG_TIMEOUT_S,
        cwd=folder,
    )


# --- in the movers' processes ---------------------------------------------------------------------


def _ready(_: int) -> None:
    return None


def _move(urls: Sequence[str], part_url: str, number: int) -> Part:
    pieces = list(_threads.map(partial(fetch, byte_range=None, limits=_LIMITS), urls))
    etag = store(part_url, pieces, limits=_LIMITS)
    return Part(number=number, etag=etag, size_bytes=sum(map(len, pieces)))


def _download(url: str, path: str) -> None:
    Path(path).write_bytes(fetch(url, byte_range=None, limits=_LIMITS))


def _send(path: str, offset: int, part_url: str, number: int) -> Part:
    with Path(path).open("rb") as file:
        file.seek(offset)
        data = file.read(_PART_BYTES)
    etag = store(part_url, data, limits=_LIMITS)
    return Part(number=number, etag=etag, size_bytes=len(data))
