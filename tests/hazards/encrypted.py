"""Streams encrypted as a packager does it (RFC 8216 4.3.2.4, 5.2)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from tests import bending

KEY = bytes(range(16))
OTHER_KEY = bytes(range(100, 116))
IV = bytes.fromhex("00112233445566778899aabbccddeeff")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """From which segment on what key holds; ``iv`` None: the media sequence number."""

    key: bytes = KEY
    iv: bytes | None = IV
    file: str = "key.bin"

    @property
    def tag(self) -> str:
        iv = f",IV=0x{self.iv.hex()}" if self.iv else ""
        return f'#EXT-X-KEY:METHOD=AES-128,URI="{self.file}"{iv}'


def encrypt(data: bytes, key: bytes, iv: bytes) -> bytes:
    padder = PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    return encryptor.update(padder.update(data) + padder.finalize()) + encryptor.finalize()


def lock(playlist: Path, locks: Mapping[int, Lock | None], *, sequence: int = 0) -> Path:
    """Encrypt a stream in place. ``locks``: by the segment that they begin at; None: in clear."""
    listed, holds = [], None
    for number, entry in enumerate(bending.entries(playlist)):
        if number in locks:
            holds = locks[number]
            entry = entry.with_tags(holds.tag if holds else "#EXT-X-KEY:METHOD=NONE")
        if holds:
            (playlist.parent / holds.file).write_bytes(holds.key)
            path = playlist.parent / entry.uri
            iv = holds.iv or (sequence + number).to_bytes(16, "big")
            path.write_bytes(encrypt(path.read_bytes(), holds.key, iv))
        listed.append(entry)
    return bending.write(playlist, listed, sequence=sequence)
