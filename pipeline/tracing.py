"""Traces of recordings for OpenTelemetry, if ``OTEL_EXPORTER_OTLP_ENDPOINT`` names a collector.

A recording's id is its trace's id, and half of it is its root span's: every process, also one that
takes over from another, adds its spans without being told anything. Without an endpoint nothing is
imported, and nothing costs anything.
"""

import os
import time
from uuid import UUID

from pipeline.errors import SettingsError
from pipeline.settings import Settings

_SERVICE = "vodray"
_FLUSH_MS = 1000
_NS = 1_000_000_000
_LOW_64 = 2**64 - 1

Value = str | bool | int | float


class _Spans:
    """Sends what is told of this process, in batches, from a thread of its own."""

    def __init__(self, endpoint: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self._resource = Resource.create(
            {"service.name": _SERVICE, "process.pid": os.getpid(), "host.name": os.uname().nodename}
        )
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")
        # Actors may be killed: what they did is sent soon.
        self._processor = BatchSpanProcessor(exporter, schedule_delay_millis=_FLUSH_MS)

    def add(
        self,
        name: str,
        recording_id: UUID,
        seconds: float,
        attributes: dict[str, Value],
        *,
        error: str | None,
        is_root: bool,
    ) -> None:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

        def context(span_id: int) -> SpanContext:
            sampled = TraceFlags(TraceFlags.SAMPLED)
            return SpanContext(recording_id.int, span_id, is_remote=False, trace_flags=sampled)

        end = time.time_ns()
        root = context(recording_id.int & _LOW_64)
        self._processor.on_end(
            ReadableSpan(
                name=name,
                context=root if is_root else context(int.from_bytes(os.urandom(8)) | 1),
                parent=None if is_root else root,
                resource=self._resource,
                attributes={f"vodray.{key}": value for key, value in attributes.items()},
                status=Status(StatusCode.OK if error is None else StatusCode.ERROR, error),
                start_time=end - round(max(seconds, 0.0) * _NS),
                end_time=end,
            )
        )


_spans: _Spans | None = None


def trace_id(recording_id: UUID | str) -> str:
    """As it stands in logs and in what collects traces: 32 hexadecimal digits."""
    return str(recording_id).replace("-", "")


def configure(settings: Settings) -> None:
    """Begin to send this process's spans. Raises ``SettingsError`` without the extra ``traces``."""
    global _spans
    if settings.otel_exporter_otlp_endpoint is None:
        return
    try:
        _spans = _spans or _Spans(settings.otel_exporter_otlp_endpoint)
    except ImportError as error:
        raise SettingsError(
            f"OTEL_EXPORTER_OTLP_ENDPOINT is set, but {error.name} is not installed",
            "Install the extra: pip install 'vodray[traces]'",
        ) from error


def add_span(
    name: str, recording_id: UUID, seconds: float, *, error: str | None = None, **attributes: Value
) -> None:
    """Something of the recording that took ``seconds`` until now."""
    if _spans is not None:
        _spans.add(name, recording_id, seconds, attributes, error=error, is_root=False)


def end_trace(
    recording_id: UUID, seconds: float, *, error: str | None = None, **attributes: Value
) -> None:
    """The whole recording, which has become final now."""
    if _spans is not None:
        _spans.add("recording", recording_id, seconds, attributes, error=error, is_root=True)
