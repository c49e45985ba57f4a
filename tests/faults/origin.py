"""Where publishers put streams: a web server of our own, or a bucket."""

import hashlib
import hmac
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Protocol
from urllib.parse import parse_qs

from pipeline.stores.objects import ObjectStore
from pipeline.transfer import TransferLimits, store
from tests.faults.prepared import renamed
from tests.hazards.unreliable import Unreliable, serving

Content = bytes | Path
_SECRET = b"of this run only"
_LIMITS = TransferLimits(timeout_s=30.0, attempts=4, retry_delay_s=0.2, max_bytes=2**30)


class Target(Protocol):
    """``name``: ``{key}/{file}``. ``data`` may be the file that has it."""

    def put(self, name: str, data: Content) -> None: ...

    def delete(self, name: str) -> None: ...


class BucketTarget:
    """``folder``: before all names."""

    def __init__(self, store: ObjectStore, bucket: str) -> None:
        self._store, self._bucket = store, bucket

    def put(self, name: str, data: Content) -> None:
        # Signed in the address, without a digest of the data: many streams share the machine.
        url = self._store.presign_put(self._bucket, name, expires_s=3600)
        store(url, _bytes(data), limits=_LIMITS)

    def delete(self, name: str) -> None:
        self._store.delete(self._bucket, [name])


class WebOrigin(Unreliable):
    """Serves what was put, with acts by name as in ``Unreliable``.

    ``signed_s``: playlists name files with a signature that is another at each look and is good for
    so long; without one, or with one too old, files answer 403.
    """

    def __init__(
        self,
        acts: Mapping[str, Sequence[str]] | None = None,
        *,
        signed_s: float | None = None,
    ) -> None:
        super().__init__(Path(), acts or {})
        self.signed_s = signed_s
        self._files: dict[str, Content] = {}
        self._looks = count(1)
        self._lock = Lock()

    def put(self, name: str, data: Content) -> None:
        self._files[name] = data

    def delete(self, name: str) -> None:
        self._files.pop(name, None)

    @property
    def host(self) -> str:
        """For ``ALLOWED_SOURCE_HOSTS``."""
        return self.origin.partition("//")[2]

    def url(self, key: str) -> str:
        return f"{self.origin}/{key}/stream.m3u8"

    # --- what the server asks ----------------------------------------------------------------
    def act(self, name: str) -> str:
        with self._lock:
            return super().act(name)

    def read(self, name: str) -> bytes | None:
        found = self._files.get(name)
        if found is None:
            return None
        data = _bytes(found)
        if self.signed_s is not None and name.endswith(".m3u8"):
            return "".join(self._signed(name, data.decode())).encode()
        return data

    def refusal(self, name: str, query: str) -> int:
        if self.signed_s is None or name.endswith(".m3u8"):
            return 0
        fields = {key: values[0] for key, values in parse_qs(query).items()}
        until, look = fields.get("until", "0"), fields.get("look", "")
        good = hmac.compare_digest(fields.get("signature", ""), _signature(name, until, look))
        return 0 if good and float(until) > time.time() else 403

    def _signed(self, name: str, playlist: str) -> Iterator[str]:
        assert self.signed_s is not None
        folder = name.rpartition("/")[0]
        look, until = str(next(self._looks)), f"{time.time() + self.signed_s:.3f}"

        def signed(uri: str) -> str:
            signature = _signature(f"{folder}/{uri}", until, look)
            return f"{uri}?until={until}&look={look}&signature={signature}"

        for line in playlist.splitlines():
            yield (renamed(line, signed) if line.startswith("#") else signed(line)) + "\n"


def web_origin(
    acts: Mapping[str, Sequence[str]] | None = None, *, signed_s: float | None = None
) -> AbstractContextManager[WebOrigin]:
    """It serves inside."""
    return serving(WebOrigin(acts, signed_s=signed_s))


def _signature(name: str, until: str, look: str) -> str:
    return hmac.new(_SECRET, f"{name} {until} {look}".encode(), hashlib.sha256).hexdigest()


def _bytes(data: Content) -> bytes:
    return data if isinstance(data, bytes) else data.read_bytes()
