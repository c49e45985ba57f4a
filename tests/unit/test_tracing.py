"""Traces that nobody collects cost nothing; the extra that is missing is named."""

import subprocess
import sys
from uuid import uuid4

import pytest

from pipeline import tracing
from pipeline.errors import SettingsError
from pipeline.settings import Settings


def test_without_a_collector_nothing_is_imported() -> None:
    code = (
        "import sys; from uuid import uuid4; from pipeline import tracing;"
        "from pipeline.settings import Settings;"
        "tracing.configure(Settings(_env_file=None));"
        "tracing.add_span('chunk', uuid4(), 1.0, chunk=1); tracing.end_trace(uuid4(), 1.0);"
        "assert not any(name.startswith('opentelemetry') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(SettingsError, match="not installed") as raised:
        tracing.configure(Settings(_env_file=None, otel_exporter_otlp_endpoint="http://c:4318"))
    assert "vodray[traces]" in str(raised.value)


def test_a_collector_is_a_url() -> None:
    with pytest.raises(ValueError, match="http://"):
        Settings(_env_file=None, otel_exporter_otlp_endpoint="collector:4318")


def test_ids_are_those_of_w3c() -> None:
    recording_id = uuid4()
    assert tracing.trace_id(recording_id) == tracing.trace_id(str(recording_id)) == recording_id.hex
