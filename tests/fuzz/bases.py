"""Sound streams that damage starts from: small clips of our own, and the corpus if it is there."""

from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from tests.corpus.cases import find_cases
from tests.media import Form, make_hls

Files = dict[str, bytes]
"""A stream in memory: contents by path below its folder. The playlist is ``stream.m3u8``."""

PLAYLIST = "stream.m3u8"
_MAX_BYTES = 1_000_000
_SHORT = {"seconds": 4, "segment_s": 1.0}

_FORMS = {
    "ts": Form(**_SHORT),
    "ts-sound": Form(**_SHORT, fps=0),
    "ts-pictures": Form(**_SHORT, audio_rate=0),
    "ts-mp3": Form(**_SHORT, audio_codec="libmp3lame", b_frames=0),
    "ts-ac3": Form(**_SHORT, audio_codec="ac3"),
    "ts-hevc": Form(**_SHORT, video_codec="libx265"),
    "ts-wraps": Form(**_SHORT, offset_s=95_441.0),
    "ts-ranges": Form(**_SHORT, single_file=True),
    "fmp4": Form(**_SHORT, container="fmp4"),
    "fmp4-sound": Form(**_SHORT, container="fmp4", fps=0, audio_rate=44_100),
    "fmp4-hevc": Form(**_SHORT, container="fmp4", video_codec="libx265"),
    "fmp4-ranges": Form(**_SHORT, container="fmp4", single_file=True),
}
EVEN = frozenset(name for name, form in _FORMS.items() if not form.single_file)
"""Those whose segments have about as many frames each."""

_CUT_WITH = ("ts", "ts-hevc", "fmp4", "fmp4-sound")
_MASTER = """#EXTM3U
#EXT-X-VERSION:7
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="en",DEFAULT=YES,URI="sound/stream.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=100000,CODECS="avc1.64000a,mp4a.40.2",AUDIO="a"
pictures/stream.m3u8
"""
_KEY = bytes(range(16))


class Bases:
    """``folder``: where clips are made, or found if they have been made before."""

    def __init__(self, folder: Path) -> None:
        self._own = {name: _load(_clip(folder, name)) for name in _FORMS}
        self._own["ts-aes"] = _encrypt(self._own["ts"])
        for sort in ("ts", "fmp4"):
            pictures = self._own["ts-pictures" if sort == "ts" else "fmp4"]
            self._own[f"{sort}-master"] = _master(pictures, self._own[f"{sort}-sound"])
        real = ((case.name, _load(case.playlist)) for case in find_cases() or ())
        self._real = {name: files for name, files in real if _size(files) < _MAX_BYTES}

    @property
    def names(self) -> list[str]:
        """Our own first: these are there everywhere."""
        return [*self._own, *self._real]

    def __getitem__(self, name: str) -> Files:
        return self._own[name] if name in self._own else self._real[name]

    def strangers(self) -> list[bytes]:
        """Segments of streams of other kinds, to be spliced in. Own ones only, so that a seed means
        the same everywhere."""
        return [
            data
            for name in _CUT_WITH
            for path, data in sorted(self._own[name].items())
            if not path.endswith(".m3u8")
        ]


def _clip(folder: Path, name: str) -> Path:
    playlist = folder / name / PLAYLIST
    if not playlist.exists():
        make_hls(folder / name, _FORMS[name])
    return playlist


def _load(playlist: Path) -> Files:
    folder = playlist.parent
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in paths
        if path.name != "case.json"
    }


def _size(files: Files) -> int:
    return sum(map(len, files.values()))


def _encrypt(clear: Files) -> Files:
    """AES-128 with the initialization vector of RFC 8216 5.2: the media sequence number."""
    files = {PLAYLIST: clear[PLAYLIST], "key.bin": _KEY}
    lines = clear[PLAYLIST].decode().splitlines()
    lines.insert(1, '#EXT-X-KEY:METHOD=AES-128,URI="key.bin"')
    files[PLAYLIST] = "\n".join([*lines, ""]).encode()
    segments = [line for line in lines if not line.startswith("#")]
    for sequence, name in enumerate(segments):
        padder = PKCS7(128).padder()
        padded = padder.update(clear[name]) + padder.finalize()
        cipher = Cipher(algorithms.AES(_KEY), modes.CBC(sequence.to_bytes(16))).encryptor()
        files[name] = cipher.update(padded) + cipher.finalize()
    return files


def _master(pictures: Files, sound: Files) -> Files:
    return {
        PLAYLIST: _MASTER.encode(),
        **{f"pictures/{path}": data for path, data in pictures.items()},
        **{f"sound/{path}": data for path, data in sound.items()},
    }
