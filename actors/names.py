"""Names of our actors: what the Ray dashboard shows, and how processes find each other."""

from uuid import UUID

NAMESPACE = "vodray"
POOL = "vodray:pool"
RECONCILER = "vodray:reconciler"
KAFKA = "vodray:kafka"
CAPTURE = "vodray:capture"
INGEST = "vodray:ingest"


def supervisor(recording_id: UUID | str) -> str:
    return f"recording:{recording_id}"


def worker(number: int) -> str:
    return f"vodray:worker:{number}"
