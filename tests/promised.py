"""Requests of all kinds to each operation of the API, and what holds for every answer."""

from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.unit.api_server import Product

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
# Events come without end.
OPERATIONS = [
    (method, path)
    for path, item in Product().app().openapi()["paths"].items()
    for method in item
    if not path.endswith("events")
]
each_operation = pytest.mark.parametrize(("method", "path"), OPERATIONS)


def try_cases(
    served: Any, method: str, path: str, check: Callable[[schemathesis.Case], None], count: int
) -> None:
    """So many requests to one operation; the same ones each time."""

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=served[path][method].as_strategy())
    def attempt(case: schemathesis.Case) -> None:
        check(case)

    attempt()


def known_ids(recording_id: str, video_id: str) -> Callable[[schemathesis.Case], None]:
    """Every other request that does not end anything is about something that is there."""
    count = 0

    def prepare(case: schemathesis.Case) -> None:
        nonlocal count
        count += 1
        if "id" in case.path_parameters and case.method in ("GET", "HEAD", "PATCH") and count % 2:
            is_video = case.path.startswith("/videos")
            case.path_parameters["id"] = video_id if is_video else recording_id

    return prepare
