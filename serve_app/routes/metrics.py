"""``/metrics``: for Prometheus."""

from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Header, Request
from prometheus_client.exposition import choose_encoder
from starlette.responses import Response

from serve_app.access.guard import Reader
from serve_app.metrics import Metrics
from serve_app.problems import guarded

_TEXT: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "text/plain": {"schema": {"type": "string"}},
            "application/openmetrics-text": {"schema": {"type": "string"}},
        },
        "description": "In the text format of Prometheus, or as OpenMetrics if `Accept` names it",
    }
}

router = APIRouter(tags=["health"])


async def _metrics(request: Request) -> Metrics:
    return cast("Metrics", request.app.state.metrics)


@router.get("/metrics", response_class=Response, responses=_TEXT | guarded())
async def get_metrics(
    metrics: Annotated[Metrics, Depends(_metrics)],
    _caller: Reader,
    accept: Annotated[str, Header()] = "",
) -> Response:
    """Of the whole cluster, whichever replica answers. What is away is left out; `vodray_up` says
    so."""
    encode, content_type = choose_encoder(accept)
    return Response(encode(await metrics.read()), headers={"Content-Type": content_type})
