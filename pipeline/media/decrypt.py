"""AES-128 as HLS uses it: CBC over a whole resource with PKCS7 padding (RFC 8216 4.3.2.4, 5.2)."""

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from pipeline.errors import MediaInvalid

KEY_BYTES = 16
_BLOCK_BYTES = 16


def check_key(key: bytes) -> bytes:
    """Raises ``MediaInvalid`` for anything that cannot be a key."""
    if len(key) != KEY_BYTES:
        raise MediaInvalid(f"its key has {len(key)} bytes instead of {KEY_BYTES}")
    return key


def decrypt(data: bytes, key: bytes, iv: str) -> bytes:
    """The plain bytes. ``iv``: 32 hex digits.

    A last block that is cut off is left out; padding that is none is left where it is: whether the
    result is media shows from its bytes.
    """
    whole = len(data) - len(data) % _BLOCK_BYTES
    decryptor = Cipher(algorithms.AES(key), modes.CBC(bytes.fromhex(iv))).decryptor()
    plain = decryptor.update(memoryview(data)[:whole]) + decryptor.finalize()
    padding = plain[-1] if plain and whole == len(data) else 0
    if 1 <= padding <= _BLOCK_BYTES and plain.endswith(bytes([padding]) * padding):
        return plain[:-padding]
    return plain
