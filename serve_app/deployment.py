"""What runs on Ray: the actors and the Serve app, started in this order and ended in reverse."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.schema import LoggingConfig

from actors import client
from pipeline.settings import Settings
from serve_app.app import build_app
from serve_app.local_ray import bounded, dashboard_url, local_ray

_APP = "vodray"
# Both together with Ray and the embedded services stay below the 15 s that operators wait.
_STOP_S = 3.0


@contextmanager
def deployed(
    settings: Settings, host: str, port: int, num_cpus: int | None, say: Callable[[str], None]
) -> Iterator[str | None]:
    """The Ray dashboard's address; the service is served inside."""
    # Serve tells its own start line by line.
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    with contextlib.ExitStack() as undo:
        undo.enter_context(local_ray(settings, num_cpus, dashboard=True))
        say("starting actors and the HTTP service")
        undo.callback(bounded, _STOP_S, client.stop)
        client.start(settings)
        # Only our application: the cluster may serve others.
        undo.callback(bounded, _STOP_S, _undeploy)
        serve.start(http_options=HTTPOptions(host=host, port=port))
        serve.run(
            build_app(settings, dashboard_url()),
            name=_APP,
            route_prefix="/",
            logging_config=LoggingConfig(enable_access_log=False, log_level="WARNING"),
        )
        yield dashboard_url()


def _undeploy() -> None:
    serve.delete(_APP)
