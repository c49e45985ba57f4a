"""An external VOD service, which recordings are imported into instead of our own catalogue."""

from typing import Any

import httpx

from pipeline.errors import VodServiceFailed
from pipeline.model import Recording
from serve_app.schemas import VideoImport

_TIMEOUT_S = 15.0
_MAX_ERROR = 300


async def import_video(
    url: str, authorization: str | None, wanted: VideoImport, recording: Recording
) -> dict[str, Any]:
    """The video as that service describes it. It gets what the caller has said, what the recording
    is, and the caller's own token. Raises ``VodServiceFailed``."""
    body = wanted.model_dump(mode="json") | {
        "stream_id": recording.stream_id,
        "user_id": recording.user_id,
        "file_path": recording.file_path,
        "thumbnail_path": recording.thumbnail_path,
        "duration": recording.duration,
        "file_size": recording.file_size,
        "started_at": recording.started_at.isoformat(),
    }
    headers = {} if authorization is None else {"Authorization": authorization}
    try:
        async with httpx.AsyncClient(timeout=_TIMEOUT_S) as client:
            answer = await client.post(
                f"{url.rstrip('/')}/import-recording", json=body, headers=headers
            )
    except httpx.HTTPError as error:
        raise VodServiceFailed(f"The VOD service does not answer: {error}") from error
    try:
        said = answer.json()
    except ValueError:
        said = None
    told: dict[str, Any] = said if isinstance(said, dict) else {}
    video = told.get("video")
    if answer.is_success and isinstance(video, dict):
        return video
    shown = str(told.get("error") or answer.text[:_MAX_ERROR] or "nothing")
    raise VodServiceFailed(
        f"The VOD service answers {answer.status_code}: {shown}", "", answer.status_code
    )
