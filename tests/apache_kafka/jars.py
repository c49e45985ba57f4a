"""The jars that Apache Kafka consists of, from Maven Central: those of ``jars.lock`` and no others.

Run as a program it fetches what is missing and prints the class path; ``--pin 4.4.0`` writes
``jars.lock`` anew for that version.
"""

import argparse
import hashlib
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jgo.maven import Artifact, Dependency, MavenContext, PythonResolver

LOCK = Path(__file__).with_name("jars.lock")
# What logs go through; Kafka's own choice has more parts.
_LOGGING = ("org.slf4j", "slf4j-simple")
_AT_ONCE = 4


def class_path() -> str:
    """Raises ``SystemExit`` for a jar that cannot be had, or is not what it was."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return os.pathsep.join(
            str(path) for path in pool.map(_fetch, *zip(*_locked(), strict=True))
        )


def pin(version: str) -> None:
    """What Maven would take for the server of that version, with what the bytes are today."""
    context = _context()
    kafka = context.project("org.apache.kafka", "kafka_2.13").at_version(version).artifact()
    _, nodes = PythonResolver().get_dependency_list([Dependency(kafka)])
    found = [kafka, *(node.dep.artifact for node in nodes)]
    api = next(artifact for artifact in found if artifact.artifactId == "slf4j-api")
    found.append(context.project(*_LOGGING).at_version(api.version).artifact())
    lines = [f"{_digest(artifact.resolve())}  {_name(artifact)}\n" for artifact in found]
    LOCK.write_text("".join(sorted(lines, key=lambda line: line.split()[1])), "utf-8")


def _locked() -> Iterator[tuple[str, str]]:
    for line in LOCK.read_text("utf-8").splitlines():
        digest, name = line.split()
        yield digest, name


def _fetch(digest: str, name: str) -> Path:
    group, artifact_id, version = name.split(":")
    artifact = _context().project(group, artifact_id).at_version(version).artifact()
    kept = artifact.cached_path
    if kept is not None and kept.exists() and _digest(kept) != digest:
        kept.unlink()  # a download that was cut off
    path = artifact.resolve()
    if _digest(path) != digest:
        raise SystemExit(f"{name} is not what jars.lock says: {path} has SHA-256 {_digest(path)}")
    return path


def _context() -> MavenContext:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return MavenContext(repo_cache=cache / "vodray" / "jars")


def _name(artifact: Artifact) -> str:
    return f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pin", metavar="VERSION")
    arguments = parser.parse_args()
    if arguments.pin:
        pin(arguments.pin)
    sys.stdout.write(class_path() + "\n")
