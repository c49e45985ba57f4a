"""What runs on Ray: the actors and the Serve app, started in this order and ended in reverse; or
started by Ray Serve itself, from its configuration (``from_environment``)."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.schema import LoggingConfig

from actors import client
from pipeline.settings import Settings, load_settings
from serve_app import direct_ingress
from serve_app.app import build_app
from serve_app.embedded.service import free_ports
from serve_app.local_ray import bounded, dashboard_url, local_ray
from serve_app.ports import check_port, held

_APP = "vodray"
# Both together with Ray and the embedded services stay below the 15 s that operators wait.
_STOP_S = 3.0
_HEAD = "node:__internal_head__"


@contextmanager
def deployed(
    settings: Settings, host: str, port: int, num_cpus: int | None, say: Callable[[str], None]
) -> Iterator[str | None]:
    """The Ray dashboard's address; the service is served inside."""
    # Serve tells its own start line by line.
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    proxy_port = port
    if not settings.ray_address:
        os.environ.update(direct_ingress.environment(port))
        proxy_port = next(free for free in free_ports(2) if free != port)
    with contextlib.ExitStack() as undo:
        with held(port):
            undo.enter_context(local_ray(settings, num_cpus, dashboard=True))
            say("starting actors and the HTTP service")
            undo.callback(bounded, _STOP_S, client.stop)
            client.start(settings)
        # Only our application: the cluster may serve others.
        undo.callback(bounded, _STOP_S, _undeploy)
        serve.start(http_options=HTTPOptions(host=host, port=proxy_port))
        try:
            serve.run(
                build_app(settings, dashboard_url(), _here()),
                name=_APP,
                route_prefix="/",
                logging_config=LoggingConfig(enable_access_log=False, log_level="WARNING"),
            )
        except RuntimeError:
            # Serve does not say so: somebody may have taken the port since it was looked at.
            check_port(port)
            raise
        yield dashboard_url()


def from_environment(_: dict[str, str]) -> serve.Application:
    """The application for a configuration of Serve (deploy/serve.yaml), with its actors. Settings
    are those of the environment on the node where Serve calls this; the actors live on the head,
    while it lives. They end with the cluster."""
    settings = load_settings()
    app = build_app(settings, dashboard_url())
    (head,) = (node["NodeID"] for node in _nodes() if _HEAD in node["Resources"])
    client.start(settings, node_id=head)
    return app


def _here() -> dict[str, float]:
    """What holds the HTTP service on this node, where ``up`` waits for it: other nodes may go, or
    hang. Serve has a proxy on the head in any case, and else only where the service is."""
    node_id = ray.get_runtime_context().get_node_id()
    (node,) = (node for node in _nodes() if node["NodeID"] == node_id)
    mine = _HEAD if _HEAD in node["Resources"] else f"node:{node['NodeManagerAddress']}"
    return {mine: 0.001}


def _nodes() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node for node in nodes if node["Alive"]]


def _undeploy() -> None:
    serve.delete(_APP)
