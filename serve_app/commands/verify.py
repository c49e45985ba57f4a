"""``vodray verify``: checks an MP4 that vodray made."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from posixpath import join, normpath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import click

from serve_app.commands._errors import Failure, Misuse

if TYPE_CHECKING:
    from pipeline.media.playlist import MediaPlaylist
    from pipeline.media.verify_file import Hls
    from pipeline.media.walk import Bytes

EXIT_DAMAGED = 3
_MAX_INIT_BYTES = 2**20
_WINDOW_BYTES = 64 * 2**10


@click.command("verify")
@click.argument("file_ref", metavar="FILE")
@click.option("--json", "as_json", is_flag=True, help="Print what was checked as JSON.")
def command(file_ref: str, as_json: bool) -> None:
    """Check an MP4 that vodray made: sample tables against the bytes, timeline, keyframes, HLS.

    FILE is a path or s3://bucket/key (with MINIO_ENDPOINT and its keys set). The HLS playlists are
    checked too if they lie beside the MP4, as vodray puts them: those of NAME/master.m3u8 that name
    NAME.mp4, NAME/source.m3u8 without one, or NAME.m3u8.

    \b
    Exit code: 0 verified, 3 verified but for keyframes that are damaged (in the source already,
    or since), 1 not verified (one line says what is wrong and where), 2 usage.

    \b
    Examples:
      vodray verify talk.mp4
      vodray verify s3://recordings/talk.mp4 --json
    """
    from pipeline.errors import VodrayError
    from pipeline.media.verify_file import verify_file

    home = _open(file_ref)
    try:
        with _progress(file_ref) as show:
            verdict = verify_file(home.media(), home.hls(), show)
    except VodrayError as error:
        if as_json:
            click.echo(json.dumps({"file": file_ref, "verified": False, "problem": str(error)}))
        raise Failure(f"{file_ref}: {error}") from error
    if as_json:
        found = {"file": file_ref, "verified": True, **dataclasses.asdict(verdict)}
        click.echo(json.dumps(found, indent=2))
        raise click.exceptions.Exit(EXIT_DAMAGED if verdict.damaged_keyframes else 0)
    hls = "no playlist" if verdict.hls_ranges is None else f"{verdict.hls_ranges} HLS ranges"
    click.echo(
        f"{file_ref}: verified, {verdict.duration_s:.3f} s, {verdict.samples} samples in "
        f"{verdict.fragments} fragments, {verdict.keyframes_decoded} keyframes decoded, {hls}"
    )
    for at_s in verdict.damaged_keyframes:
        click.echo(f"{file_ref}: the keyframe at {at_s:.3f} s is damaged", err=True)
    raise click.exceptions.Exit(EXIT_DAMAGED if verdict.damaged_keyframes else 0)


class _Home:
    """Where the MP4 is, and what lies beside it."""

    def __init__(self, name: str, open_bytes: Callable[[str], "Bytes | None"]) -> None:
        self._name, self._open = name, open_bytes

    def media(self) -> "Bytes":
        found = self._open(self._name)
        if found is None:
            raise Failure(f"There is no {self._name}")
        return found

    def hls(self) -> "Hls | None":
        """What names this object. The master playlist beside it may name others as well."""
        from pipeline.media.verify_file import Hls

        folder, slash, own = self._name.rpartition("/")
        stem = own.removesuffix(".mp4").removesuffix(".m4a")
        beside, inside = folder + slash, f"{folder}{slash}{stem}/"
        for base, names in (
            (inside, self._listed(inside) or ["source.m3u8"]),
            (beside, self._beside(beside, f"{stem}.m3u8")),
        ):
            found = self._own_playlists(base, names)
            if found:
                uris = dict.fromkeys(
                    s.init.uri for playlist in found for s in playlist.segments if s.init
                )
                return Hls(playlists=found, inits=tuple(self._init(base, uri) for uri in uris))
        return None

    def _beside(self, folder: str, name: str) -> list[str]:
        """In a folder that holds all renditions, other playlists may name the same object."""
        if self._open(folder + name) is None:
            return []
        return list(dict.fromkeys([name, *self._listed(folder)]))

    def _listed(self, folder: str) -> list[str]:
        """The media playlists that the master playlist names, pictures first."""
        from pipeline.errors import VerificationFailed
        from pipeline.media.playlist import MAX_PLAYLIST_BYTES, MasterPlaylist, parse

        found = self._open(f"{folder}master.m3u8")
        if found is None:
            return []
        master = parse(found.read(0, MAX_PLAYLIST_BYTES + 1), "master.m3u8")
        if not isinstance(master, MasterPlaylist):
            raise VerificationFailed(f"{folder}master.m3u8 is no master playlist")
        listed = [variant.uri for variant in master.variants]
        uris = [unquote(uri) for uri in (*listed, *(audio.uri for audio in master.audios)) if uri]
        if any("/" in uri for uri in uris):
            raise VerificationFailed(f"{folder}master.m3u8 names playlists that are not beside it")
        return list(dict.fromkeys(uris))

    def _own_playlists(self, folder: str, names: list[str]) -> "tuple[MediaPlaylist, ...]":
        """Those of this object. Raises ``VerificationFailed`` if there are only others, of objects
        that are not there."""
        from pipeline.errors import VerificationFailed

        own, problem = [], ""
        for name in names:
            playlist = self._playlist(folder, name)
            if playlist is None:
                continue
            other = next((s.uri for s in playlist.segments if not self._is_own(folder, s.uri)), "")
            if not other:
                own.append(playlist)
            elif not problem and self._open(normpath(join(folder, unquote(other)))) is None:
                wanted = self._name.rpartition("/")[2]
                problem = f"{folder}{name} does not name {wanted} but {other[:80]}"
        if problem and not own:
            raise VerificationFailed(problem)
        return tuple(own)

    def _is_own(self, folder: str, uri: str) -> bool:
        """Other objects may have the same name in another folder."""
        return normpath(join(folder, unquote(uri))) == normpath(self._name)

    def _playlist(self, folder: str, name: str) -> "MediaPlaylist | None":
        from pipeline.errors import VerificationFailed
        from pipeline.media.playlist import MAX_PLAYLIST_BYTES, MediaPlaylist, parse

        found = self._open(folder + name)
        if found is None:
            return None
        playlist = parse(found.read(0, MAX_PLAYLIST_BYTES + 1), name)
        if not isinstance(playlist, MediaPlaylist):
            raise VerificationFailed(f"{folder}{name} is a master playlist")
        return playlist

    def _init(self, folder: str, uri: str) -> bytes:
        from pipeline.errors import VerificationFailed

        found = self._open(folder + unquote(uri)) if "/" not in unquote(uri) else None
        if found is None or found.size > _MAX_INIT_BYTES:
            raise VerificationFailed(f"The init segment {uri[:80]} is not beside its playlist")
        return found.read(0, found.size)


def _open(file_ref: str) -> _Home:
    if not file_ref.startswith("s3://"):
        return _Home(str(Path(file_ref)), _FileBytes.open)
    from pipeline.settings import load_settings
    from pipeline.stores.connect import make_store

    bucket, _, key = file_ref.removeprefix("s3://").partition("/")
    if not bucket or not key:
        raise Misuse(f"{file_ref!r} is not s3://bucket/key")
    store = make_store(load_settings())
    return _Home(key, lambda name: _ObjectBytes.open(store, bucket, name))


class _FileBytes:
    def __init__(self, path: Path) -> None:
        self._path = path
        self.size = path.stat().st_size

    @classmethod
    def open(cls, name: str) -> "_FileBytes | None":
        path = Path(name)
        return cls(path) if path.is_file() else None

    def read(self, offset: int, length: int) -> bytes:
        with self._path.open("rb") as file:
            file.seek(offset)
            return file.read(length)


class _ObjectBytes:
    """An object, read by ranges of at least ``_WINDOW_BYTES``: small reads follow each other."""

    def __init__(self, store: Any, bucket: str, key: str) -> None:
        self._store, self._bucket, self._key = store, bucket, key
        self._window_at, self._window = 0, b""
        self.size: int = store.stat(bucket, key).size_bytes

    @classmethod
    def open(cls, store: Any, bucket: str, key: str) -> "_ObjectBytes | None":
        from pipeline.errors import ObjectMissing

        try:
            return cls(store, bucket, key)
        except ObjectMissing:
            return None

    def read(self, offset: int, length: int) -> bytes:
        if offset >= self.size:
            return b""
        at = offset - self._window_at
        if at < 0 or at + length > len(self._window):
            wanted = min(max(length, _WINDOW_BYTES), self.size - offset)
            self._window = self._store.get(
                self._bucket, self._key, offset=offset, length=wanted, max_bytes=wanted
            )
            self._window_at, at = offset, 0
        return self._window[at : at + length]


@contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, nothing otherwise."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task(title[-50:], total=None)
        yield lambda done, whole: bar.update(task, completed=done, total=whole)
