"""A stream that is taken in as callers see it."""

from actors.ingest_stream import IngestStream
from pipeline.ingest import addresses
from pipeline.ingest.view import View
from pipeline.settings import Settings


def view(stream: IngestStream, settings: Settings) -> View:
    state, session, uploads = stream.state, stream.session, stream.uploads
    entries = uploads.entries if uploads else []
    ports = settings.ingest_port_range
    return View(
        stream_id=state.stream_id,
        stream_key=state.stream_key,
        status=state.phase.value,
        user_id=state.user_id,
        title=state.title,
        protocol=state.protocol if session else None,
        bitrate=session.meter.bits_per_s if session else 0,
        fps=session.meter.pictures_per_s if session else None,
        started_at=state.started_at,
        last_number=len(entries) - 1 if entries else None,
        last_at=entries[-1].ended_at if entries else None,
        waiting_segments=uploads.waiting_count if uploads else 0,
        problem=stream.problem,
        urls=addresses.urls(settings.ingest_host, ports, state.port, state.secret),
    )
