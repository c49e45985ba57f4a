"""nginx with the configuration of ``deploy/nginx``, on a port of its own and below one folder."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from serve_app.embedded.process import Command
from serve_app.embedded.service import LOOPBACK, Service, accepts_connections

DEPLOY = Path(__file__).parents[2] / "deploy" / "nginx"
MEDIA_HOST = "media.example.com"
_MAIN = """\
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr notice;
events {{ worker_connections 1024; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/vodray.conf;
}}
"""


def nginx() -> Path:
    named = os.environ.get("NGINX", "nginx")
    found = shutil.which(named, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        pytest.fail(
            f"The tests of the gateway need nginx, and {named} is not there. `make test` installs "
            "one; or name yours: NGINX=/path/to/nginx"
        )
    return Path(found)


class Gateway(Service):
    """Before ``api`` and ``store`` (``host:port``), both on loopback."""

    title = "nginx"

    def __init__(self, folder: Path, logs: Path, *, api: str, store: str) -> None:
        super().__init__(folder, logs)
        self._api, self._store = api, store

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def access_log(self) -> str:
        return "".join(path.read_text() for path in self.folder.glob("log/*.log"))

    def check(self) -> str:
        """What ``nginx -t`` says of the configuration that runs."""
        command = [str(self._program()), *self._options(), "-t"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def _program(self) -> Path:
        return nginx()

    def _options(self) -> tuple[str, ...]:
        return ("-p", str(self.folder), "-c", str(self.folder / "nginx.conf"), "-e", "stderr")

    def _prepare(self) -> None:
        for name in ("log", "cache"):
            (self.folder / name).mkdir(exist_ok=True)

    def _command(self) -> Command:
        text = (DEPLOY / "vodray.conf").read_text("utf-8")
        for told, here in (
            ("server 127.0.0.1:8083;", f"server {self._api};"),
            ("server 127.0.0.1:9000;", f"server {self._store};"),
            # Not for what is tested here: that it is looked at again.
            ("proxy_cache_valid 206 10s;", "proxy_cache_valid 206 1s;"),
            ("listen 80", f"listen {LOOPBACK}:{self.port}"),
            ("/var/log/nginx/", f"{self.folder}/log/"),
            ("/var/cache/nginx/vodray", f"{self.folder}/cache"),
        ):
            assert told in text, told
            text = text.replace(told, here)
        (self.folder / "vodray.conf").write_text(text, "utf-8")
        # Its workers would become somebody who may not write here.
        user = "user root;" if os.geteuid() == 0 else ""
        (self.folder / "nginx.conf").write_text(_MAIN.format(folder=self.folder, user=user))
        argv = (str(self._program()), *self._options())
        return Command(title=self.title, argv=argv, folder=self.folder, log=self.log)

    def _is_ready(self) -> bool:
        return accepts_connections(self.port)
