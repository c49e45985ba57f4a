"""``fetch`` and ``store``: how workers move bytes, knowing URLs and no keys.

``http(s)`` URLs are sources or presigned S3 URLs, ``file`` URLs stand for a ``FolderStore`` or a
local playlist (the caller has checked the path), ``memory`` URLs for a ``MemoryStore`` of this
process. Messages never show a query string: that is where signatures are.
"""

import http.client
import re
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from typing_extensions import Buffer

from pipeline.connections import BadUrl, ForbiddenAddress, exchange
from pipeline.errors import (
    BucketMissing,
    MediaInvalid,
    ObjectMissing,
    SourceForbidden,
    SourceMissing,
    SourceUnavailable,
    StoreDenied,
    StoreError,
    StoreUnavailable,
    Unsupported,
    VodrayError,
)
from pipeline.metrics import request
from pipeline.model import ByteRange
from pipeline.stores import objects_files, objects_memory
from pipeline.uris import shown_uri

T = TypeVar("T")

_READ_BYTES = 256 * 1024
_ERROR_BODY_BYTES = 16 * 1024
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(?:\d+|\*)")
_S3_CODE = re.compile(rb"<Code>([A-Za-z0-9.]{1,64})</Code>")
_TRANSIENT_CODES = frozenset({"RequestTimeout", "IncompleteBody", "SlowDown", "OperationAborted"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferLimits:
    """``timeout_s`` bounds one attempt as a whole; ``retry_delay_s`` lies between two attempts."""

    timeout_s: float
    attempts: int
    retry_delay_s: float
    max_bytes: int


def fetch(url: str, *, byte_range: ByteRange | None, limits: TransferLimits) -> bytes:
    """The bytes of a resource, or those of ``byte_range``; never none, never above ``max_bytes``.

    Raises ``SourceMissing`` and ``SourceUnavailable`` after all attempts; at once
    ``SourceForbidden``, ``MediaInvalid`` (empty, too large, or not what was asked for) and
    ``Unsupported``. Only HTTP is tried more than once.
    """
    if byte_range is not None and byte_range.length > limits.max_bytes:
        raise MediaInvalid(f"{shown_uri(url)}: more than {limits.max_bytes} bytes are asked for")
    data = _read_url(url, byte_range, limits)
    if not data:
        raise MediaInvalid(f"{shown_uri(url)} is empty")
    if byte_range is not None and len(data) < byte_range.length:
        raise MediaInvalid(f"{shown_uri(url)} ends before the byte range that is asked for")
    return data


def store(url: str, data: bytes | memoryview | Sequence[Buffer], *, limits: TransferLimits) -> str:
    """Put the bytes, one piece after the other, where ``url`` says; returns their ETag unquoted.

    Raises ``StoreUnavailable`` after all attempts; at once ``StoreDenied``, ``ObjectMissing``
    (the upload is gone), ``BucketMissing`` and ``StoreError``. ``max_bytes`` is not looked at.
    """
    pieces = [data] if isinstance(data, bytes | memoryview) else list(data)
    scheme = _scheme(url)
    if scheme == "memory":
        return objects_memory.write_url(url, pieces)
    if scheme == "file":
        return objects_files.write_url(url, pieces)
    return _retried(lambda: _put(url, pieces, limits), limits)


def _scheme(url: str) -> str:
    return url.partition(":")[0].lower()


def _service(url: str) -> str:
    """For metrics: what is signed as S3 does it is ours."""
    return "s3" if "X-Amz-Signature=" in url else "source"


def _retried(action: Callable[[], T], limits: TransferLimits) -> T:
    for _ in range(limits.attempts - 1):
        try:
            return action()
        except VodrayError as error:
            if not error.retry:
                raise
        time.sleep(limits.retry_delay_s)
    return action()


def _read_url(url: str, byte_range: ByteRange | None, limits: TransferLimits) -> bytes:
    scheme = _scheme(url)
    if scheme in ("http", "https"):
        return _retried(lambda: _get(url, byte_range, limits), limits)
    offset, length = (byte_range.offset, byte_range.length) if byte_range else (0, None)
    if scheme == "memory":
        return objects_memory.read_url(url, offset, length, limits.max_bytes)
    if scheme == "file":
        return objects_files.read_url(url, offset, length, limits.max_bytes)
    raise SourceForbidden(f"{shown_uri(url)}: only http, https and file URLs are read")


# --- reading over HTTP -----------------------------------------------------------------------


@contextmanager
def _source_errors(url: str) -> Iterator[None]:
    try:
        yield
    except BadUrl as error:
        raise Unsupported(f"{shown_uri(url)}: {error}") from error
    except ForbiddenAddress as error:
        raise SourceForbidden(f"{shown_uri(url)}: {error}") from error
    except TimeoutError as error:
        raise SourceUnavailable(f"{shown_uri(url)} did not come in time") from error
    except http.client.IncompleteRead as error:
        raise SourceUnavailable(f"{shown_uri(url)} broke off before its end") from error
    except (OSError, http.client.HTTPException) as error:
        raise SourceUnavailable(f"{shown_uri(url)} cannot be read: {_reason(error)}") from error


def _get(url: str, byte_range: ByteRange | None, limits: TransferLimits) -> bytes:
    headers = {}
    if byte_range is not None:
        last = byte_range.offset + byte_range.length - 1
        headers["Range"] = f"bytes={byte_range.offset}-{last}"
    with (
        request(_service(url), "get"),
        _source_errors(url),
        exchange("GET", url, timeout_s=limits.timeout_s, headers=headers) as response,
    ):
        _refuse_status(url, response.status)
        if response.status == http.client.PARTIAL_CONTENT and byte_range is not None:
            return _read_partial(url, response, byte_range)
        return _read_whole(url, response, byte_range, limits.max_bytes)


def _refuse_status(url: str, status: int) -> None:
    if status in (200, 206):
        return
    if 300 <= status < 400:
        raise SourceForbidden(f"{shown_uri(url)} redirects ({status}), which is not followed")
    if status in (404, 410, 416):
        raise SourceMissing(f"{shown_uri(url)} is not there ({status})")
    if 400 <= status < 500 and status not in (408, 425, 429):
        raise SourceForbidden(f"{shown_uri(url)} is refused by its server ({status})")
    raise SourceUnavailable(f"{shown_uri(url)}: its server answers {status}")


def _read_partial(url: str, response: http.client.HTTPResponse, asked: ByteRange) -> bytes:
    told = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    first, last = (int(told[1]), int(told[2])) if told else (-1, -1)
    if first != asked.offset or last >= asked.offset + asked.length:
        raise MediaInvalid(
            f"{shown_uri(url)}: its server sent another byte range than was asked for"
        )
    if _encoding(response):
        raise MediaInvalid(f"{shown_uri(url)}: its server sent a byte range of compressed bytes")
    data = _read(response, asked.length + 1)
    if len(data) != last - first + 1:
        raise SourceUnavailable(f"{shown_uri(url)} broke off before its end")
    return data


def _read_whole(
    url: str, response: http.client.HTTPResponse, asked: ByteRange | None, max_bytes: int
) -> bytes:
    """The body, or what was asked of it by a server that knows no ranges."""
    if response.status == http.client.PARTIAL_CONTENT:
        raise MediaInvalid(f"{shown_uri(url)}: its server sent a byte range that nobody asked for")
    encoding = _encoding(response)
    too_large = MediaInvalid(f"{shown_uri(url)} is larger than the limit of {max_bytes} bytes")
    if asked is None and (response.length or 0) > max_bytes:
        raise too_large
    end = asked.offset + asked.length if asked else max_bytes + 1
    data = _read(response, max_bytes + 1 if encoding else min(end, max_bytes + 1))
    if encoding and len(data) <= max_bytes:
        data = _inflate(url, encoding, data, max_bytes)
    if len(data) > max_bytes:
        raise too_large
    return data[asked.offset : end] if asked else data


def _read(response: http.client.HTTPResponse, stop_bytes: int) -> bytes:
    """The body, but no more than ``stop_bytes`` of it."""
    if response.length is not None and response.length <= stop_bytes:
        return response.read()  # complains about a body that breaks off
    pieces = bytearray()
    while len(pieces) < stop_bytes:
        piece = response.read(min(_READ_BYTES, stop_bytes - len(pieces)))
        if not piece and response.length:
            raise http.client.IncompleteRead(bytes(pieces), response.length)
        if not piece:
            break
        pieces += piece
    return bytes(pieces)


def _encoding(response: http.client.HTTPResponse) -> str:
    """The Content-Encoding, "" for none; S3 keeps ``aws-chunked`` of bytes that are not so."""
    told = response.headers.get("Content-Encoding", "").lower().split(",")
    return ",".join(n for n in map(str.strip, told) if n not in ("", "identity", "aws-chunked"))


def _inflate(url: str, encoding: str, data: bytes, max_bytes: int) -> bytes:
    """Decompress up to one byte more than ``max_bytes``, whatever the data claims to become."""
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise Unsupported(f"{shown_uri(url)} is sent with Content-Encoding {encoding[:40]!r}")
    out = bytearray()
    try:
        while data and len(out) <= max_bytes:
            member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
            out += member.decompress(data, max_bytes + 1 - len(out))
            if not member.eof and len(out) <= max_bytes:
                raise MediaInvalid(f"{shown_uri(url)} is compressed and breaks off")
            data = member.unused_data
    except zlib.error as error:
        raise MediaInvalid(f"{shown_uri(url)} is not {encoding}, as its server says") from error
    return bytes(out)


# --- writing over HTTP -----------------------------------------------------------------------


@contextmanager
def _store_errors(url: str) -> Iterator[None]:
    try:
        yield
    except (BadUrl, ForbiddenAddress) as error:
        raise StoreError(f"{shown_uri(url)}: {error}") from error
    except TimeoutError as error:
        raise StoreUnavailable(f"{shown_uri(url)} could not be written in time") from error
    except (OSError, http.client.HTTPException) as error:
        raise StoreUnavailable(f"{shown_uri(url)} cannot be written: {_reason(error)}") from error


def _put(url: str, pieces: Sequence[Buffer], limits: TransferLimits) -> str:
    size = sum(memoryview(piece).nbytes for piece in pieces)
    headers = {"Content-Length": str(size)}
    with (
        request("s3", "put"),
        _store_errors(url),
        exchange("PUT", url, timeout_s=limits.timeout_s, headers=headers, body=pieces) as response,
    ):
        answer = _read(response, _ERROR_BODY_BYTES)
        if response.status not in (200, 201, 204):
            raise _store_refusal(url, response.status, answer)
        etag = response.headers.get("ETag", "").strip().removeprefix("W/").strip('"')
        if not etag:
            raise StoreUnavailable(f"{shown_uri(url)}: its server answers without an ETag")
        return etag


def _store_refusal(url: str, status: int, answer: bytes) -> StoreError:
    match = _S3_CODE.search(answer)
    code = match[1].decode() if match else ""
    message = f"{shown_uri(url)}: the object store answers {status} {code}".rstrip()
    if status >= 500 or status in (408, 429) or code in _TRANSIENT_CODES:
        return StoreUnavailable(message)
    if code == "NoSuchBucket":
        return BucketMissing(message)
    if status == http.client.NOT_FOUND:
        return ObjectMissing(message)
    if status in (401, 403):
        return StoreDenied(message, "The URL's signature does not hold or has expired")
    return StoreError(message)


def _reason(error: Exception) -> str:
    """What went wrong in a few words, without anything that the other side has sent."""
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__
