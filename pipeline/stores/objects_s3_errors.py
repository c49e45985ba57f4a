"""What an S3 server or the way to it has to complain about, as errors of ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree.ElementTree import ParseError

from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from minio.helpers import check_bucket_name
from urllib3.exceptions import HTTPError, SSLError

from pipeline.errors import (
    BucketMissing,
    ObjectMissing,
    StoreDenied,
    StoreError,
    StoreUnavailable,
)

_MISSING_BUCKET = frozenset({"NoSuchBucket", "InvalidBucketName"})
_MISSING_OBJECT = frozenset({"NoSuchKey", "NoSuchUpload", "NoSuchVersion", "ResourceNotFound"})
_TRANSIENT = frozenset({"OperationAborted", "RequestTimeout", "IncompleteBody", "SlowDown"})
_CLOCK = "RequestTimeTooSkewed"

_CHECK_KEYS = "Check MINIO_ACCESS_KEY and MINIO_SECRET_KEY, and what they are allowed to do"
_CHECK_CLOCK = "Set this machine's clock"
_CHECK_ENDPOINT = "Check that the server runs, MINIO_ENDPOINT and MINIO_USE_SSL"
_CHECK_BUCKET = "Check MINIO_BUCKET and MINIO_HLS_BUCKET, or make the bucket"


@contextmanager
def s3_errors(endpoint: str, bucket: str, key: str = "") -> Iterator[None]:
    """Turn what the client raises into the ``StoreError`` branch. Messages hold no secrets."""
    where = f"{endpoint}, {bucket}/{key}" if key else f"{endpoint}, bucket {bucket}"
    try:
        check_bucket_name(bucket)
    except ValueError as error:
        raise BucketMissing(f"{bucket!r} cannot be a bucket's name", _CHECK_BUCKET) from error
    try:
        yield
    except S3Error as error:
        raise _refusal(error.code or "", error.response.status, where) from error
    except (ServerError, InvalidResponseError) as error:
        message = f"Object store at {where}: the server fails, or does not speak S3"
        raise StoreUnavailable(message, _CHECK_ENDPOINT) from error
    except (HTTPError, OSError) as error:
        message = f"Object store at {where}: {_way_error(error)}"
        raise StoreUnavailable(message, _CHECK_ENDPOINT) from error
    except (MinioException, ParseError, ValueError) as error:
        message = f"Object store at {where}: its answer is not what S3 answers"
        raise StoreUnavailable(message, _CHECK_ENDPOINT) from error


def _refusal(code: str, status: int, where: str) -> StoreError:
    message = f"Object store at {where}: {code}"
    if code in _MISSING_BUCKET:
        return BucketMissing(message, _CHECK_BUCKET)
    if code in _MISSING_OBJECT:
        return ObjectMissing(message)
    if status >= 500 or status == 429 or code in _TRANSIENT:
        return StoreUnavailable(message, _CHECK_ENDPOINT)
    if status in (401, 403):
        return StoreDenied(message, _CHECK_CLOCK if code == _CLOCK else _CHECK_KEYS)
    return StoreError(message)


def _way_error(error: HTTPError | OSError) -> str:
    """In words of ours: the client's own messages hold whole URLs."""
    if isinstance(error, SSLError):
        return "no TLS connection"
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return type(error).__name__
