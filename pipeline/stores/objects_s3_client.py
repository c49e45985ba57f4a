"""The ``minio`` client with its multipart calls, which are not public."""

from collections.abc import Mapping, Sequence
from xml.etree import ElementTree as ET

from minio import Minio
from minio.datatypes import ListPartsResult
from minio.datatypes import Part as MinioPart
from minio.xml import findall, findtext

from pipeline.model import Part
from pipeline.stores.objects import OpenUpload


class MultipartClient(Minio):
    """``minio`` with its multipart calls, which are not public, under names of our own."""

    def region_of(self, bucket: str) -> str:
        return self._get_region(bucket)

    def begin(self, bucket: str, key: str, content_type: str) -> str:
        return self._create_multipart_upload(bucket, key, {"Content-Type": content_type})

    def finish(self, bucket: str, key: str, upload_id: str, parts: Sequence[Part]) -> bool:
        """False where the answer is 200 with an error in it, as S3 may do."""
        listed = [MinioPart(part.number, part.etag) for part in parts]
        return bool(self._complete_multipart_upload(bucket, key, upload_id, listed).etag)

    def drop(self, bucket: str, key: str, upload_id: str) -> None:
        self._abort_multipart_upload(bucket, key, upload_id)

    def parts_after(
        self, bucket: str, key: str, upload_id: str, marker: str | None
    ) -> ListPartsResult:
        return self._list_parts(bucket, key, upload_id, part_number_marker=marker)

    def uploads_after(
        self, bucket: str, prefix: str, markers: Mapping[str, str]
    ) -> tuple[list[OpenUpload], Mapping[str, str]]:
        """A page of uploads, and the markers of the next one; none after the last.

        The client's own call asks for percent-encoded keys, which not every server sends then,
        and loses the second marker.
        """
        query: dict[str, str | list[str] | tuple[str]] = {
            "uploads": "",
            "prefix": prefix,
            **markers,
        }
        answer = self._execute("GET", bucket, query_params=query)
        page = ET.fromstring(answer.data)  # noqa: S314  the operator's own server, as for minio
        found = [
            OpenUpload(key=_text(item, "Key"), upload_id=_text(item, "UploadId"))
            for item in findall(page, "Upload")
        ]
        if findtext(page, "IsTruncated") != "true":
            return found, {}
        told = {
            "key-marker": findtext(page, "NextKeyMarker"),
            "upload-id-marker": findtext(page, "NextUploadIdMarker"),
        }
        return found, {name: value for name, value in told.items() if value}


def _text(element: ET.Element, name: str) -> str:
    return findtext(element, name, strict=True) or ""
