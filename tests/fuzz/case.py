"""A seed becomes an input: a pure function of the seed's text and the streams it starts from."""

from dataclasses import dataclass
from functools import partial
from random import Random

from tests.fuzz import boxes, playlists, raw, transport
from tests.fuzz.bases import PLAYLIST, Bases, Files
from tests.fuzz.raw import Damage


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """``files``: the damaged stream. ``damaged``: which of its files differ from the sound one;
    ``story``: what was done, in order."""

    seed: str
    base: str
    files: Files
    damaged: frozenset[str]
    story: tuple[str, ...]


def make_case(seed: str, bases: Bases) -> Case:
    """``seed``: ``BASE:NUMBER``. Number 0 leaves the base as it is."""
    base, _, number = seed.rpartition(":")
    sound = bases[base]
    files, story = dict(sound), []
    random = Random(seed)
    for _ in range(random.choice((1, 1, 1, 2, 4)) if int(number) else 0):
        name = _pick(files, random)
        damage = random.choice(_fitting(name, files[name], bases))
        files[name] = damage(files[name], random)
        story.append(f"{_name(damage)}({name})")
    damaged = frozenset(name for name in files if files[name] != sound[name])
    return Case(seed=seed, base=base, files=files, damaged=damaged, story=tuple(story))


def _pick(files: Files, random: Random) -> str:
    lists = [name for name in files if name.endswith(".m3u8")]
    media = [name for name in files if name not in lists]
    return random.choice(lists if random.random() < 0.25 or not media else media)


def _fitting(name: str, data: bytes, bases: Bases) -> list[Damage]:
    """Those that know the form come as often as those that do not."""
    if name.endswith(".m3u8"):
        return [*playlists.DAMAGES, *playlists.DAMAGES, *raw.DAMAGES]
    unknowing = [*raw.DAMAGES, partial(splice, bases.strangers())]
    if transport.is_transport(data):
        return [*transport.DAMAGES, *unknowing]
    if boxes.is_boxed(data):
        return [*boxes.DAMAGES, *unknowing]
    return unknowing


def splice(strangers: list[bytes], data: bytes, random: Random) -> bytes:
    """The beginning of one segment and the end of another, or all of the other."""
    other = random.choice(strangers)
    unit = random.choice((1, transport.PACKET))
    at = random.choice((0, random.randrange(len(data) + 1) // unit * unit))
    return data[:at] + other[random.randrange(len(other) + 1) // unit * unit if at else 0 :]


def _name(damage: Damage) -> str:
    return damage.func.__name__ if isinstance(damage, partial) else damage.__name__


def segment_numbers(files: Files) -> dict[str, int]:
    """Media sequence numbers by file, for a sound and plain media playlist in which each file is
    listed once; else nothing."""
    lines = files[PLAYLIST].decode(errors="replace").splitlines()
    uris = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    first = [line.partition(":")[2] for line in lines if line.startswith("#EXT-X-MEDIA-SEQUENCE:")]
    if len(set(uris)) < len(uris) or any(not uri.endswith((".ts", ".m4s")) for uri in uris):
        return {}
    return {uri: int(first[0] if first else 0) + number for number, uri in enumerate(uris)}
