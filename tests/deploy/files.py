"""The files that describe a deployment, as their readers see them."""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]


def read(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text("utf-8"))


def read_all(path: str) -> list[Any]:
    return list(yaml.safe_load_all((ROOT / path).read_text("utf-8")))
