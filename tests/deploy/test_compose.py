"""docker-compose.yml, without an engine: against the specification's schema, and what the schema
cannot know."""

import json
import re
import shlex
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ray.scripts.scripts import start as ray_start

from pipeline.settings import Settings, load_settings
from serve_app.commands.token import command as token
from serve_app.commands.up import command as up
from tests.deploy.files import ROOT, read

COMPOSE = read("docker-compose.yml")
TEXT = (ROOT / "docker-compose.yml").read_text("utf-8")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
# Runs once, and hands the volumes to those who use them.
ONCE = "volumes"
OF_RAY = {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN"}

_VARIABLE = re.compile(r"\$\{([A-Z][A-Z0-9_]*)(:[-?][^}]*)?\}")

each_service = pytest.mark.parametrize("name", sorted(SERVICES))
each_lasting = pytest.mark.parametrize("name", sorted(set(SERVICES) - {ONCE}))
each_node = pytest.mark.parametrize("name", ["ray-head", "ray-worker", "vodray"])


def test_it_is_what_the_specification_says() -> None:
    schema = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.validate(COMPOSE, json.loads(schema.read_text("utf-8")))


def test_all_parts_are_there() -> None:
    assert set(SERVICES) - {ONCE} == {
        *("postgres", "minio", "kafka", "ray-head", "ray-worker", "vodray"),
        *("prometheus", "grafana", "nginx"),
    }


@each_service
def test_nobody_may_more_than_needed(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert not any("docker.sock" in str(volume) for volume in service.get("volumes", []))
    if name == ONCE:
        assert (service["cap_add"], service["network_mode"]) == (["CHOWN"], "none")
    else:
        assert "cap_add" not in service
        uid, gid = service["user"].split(":")
        assert int(uid) > 0
        assert int(gid) > 0


@each_service
def test_everybody_has_limits(name: str) -> None:
    assert set(SERVICES[name]["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}


@each_service
def test_versions_are_pinned(name: str) -> None:
    image, _, tag = SERVICES[name]["image"].partition(":")
    assert image
    assert re.search(r"\d+[.-]\d", tag), f"{name}: {tag}"


@each_lasting
def test_everybody_is_looked_at_and_started_again(name: str) -> None:
    service = SERVICES[name]
    assert set(service["healthcheck"]) == {"test", "interval", "timeout", "start_period", "retries"}
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["restart"] == "unless-stopped"
    assert service["logging"]["options"]["max-size"]


@each_lasting
def test_who_waits_for_others_says_until_when(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        wanted = "service_completed_successfully" if other == ONCE else "service_healthy"
        assert how == {"condition": wanted}


def test_only_the_gateway_can_be_reached_from_outside() -> None:
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"nginx"}
    assert len(SERVICES["nginx"]["ports"]) == 1


@each_lasting
def test_volumes_are_handed_to_who_uses_them(name: str) -> None:
    service = SERVICES[name]
    named = [
        volume.partition(":")[0]
        for volume in service.get("volumes", [])
        if not volume.startswith("./") and not volume.endswith(":ro")
    ]
    owned = dict(re.findall(r"chown (\S+) (/[^&]+)", SERVICES[ONCE]["command"][0]))
    for volume in named:
        assert volume in COMPOSE["volumes"]
        (owner,) = (who for who, what in owned.items() if f"/volumes/{volume}" in what.split())
        assert owner == service["user"]
        assert ONCE in service["depends_on"]


def test_every_variable_is_in_the_example_and_no_secret_has_a_default() -> None:
    example = (ROOT / "deploy" / "compose.env.example").read_text("utf-8")
    known = dict(re.findall(r"^([A-Z][A-Z0-9_]*)=(.*)$", example, re.MULTILINE))
    used = _VARIABLE.findall(TEXT)
    assert {name for name, _ in used} == set(known)
    for name, otherwise in used:
        if otherwise.startswith(":-"):
            assert known[name] == otherwise.removeprefix(":-")
        else:
            assert otherwise.startswith(":?"), f"{name}: compose is to refuse to start without it"
            assert known[name] == ""


def test_the_example_stays_an_example() -> None:
    assert "deploy/compose.env" in (ROOT / ".gitignore").read_text("utf-8").splitlines()


def test_vodray_is_told_nothing_that_it_does_not_know() -> None:
    told = set(SERVICES["vodray"]["environment"])
    assert told - OF_RAY <= {name.upper() for name in Settings.model_fields}
    assert told > OF_RAY


def test_what_vodray_is_told_is_good(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in SERVICES["vodray"]["environment"].items():
        monkeypatch.setenv(name, _VARIABLE.sub(_filled, value))
    settings = load_settings()
    assert settings.has_access_control
    assert settings.webhook_secret
    assert settings.database_dsn
    assert settings.kafka_brokers == ("kafka:9092",)


def _filled(variable: "re.Match[str]") -> str:
    otherwise = variable[2] or ""
    return otherwise.removeprefix(":-") if otherwise.startswith(":-") else "f" * 64


@each_node
def test_commands_are_commands_of_ray_and_vodray(name: str) -> None:
    command = [_VARIABLE.sub(_filled, word) for word in SERVICES[name]["command"]]
    if command[0] == "sh":
        command, minted, served = (shlex.split(part) for part in command[-1].split(" && "))
        assert minted[:2] == ["vodray", "token"]
        token.make_context("token", minted[2 : minted.index(">")])
        assert served[:3] == ["exec", "vodray", "up"]
        up.make_context("up", served[3:])
    assert command[:2] == ["ray", "start"]
    context = ray_start.make_context("start", command[2:])
    assert context.params["disable_usage_stats"]
    assert context.params["head"] == (name == "ray-head")
    # The head and the node of `up` do no media work.
    assert (context.params["num_cpus"] or 0) == (2 if name == "ray-worker" else 0)


@each_node
def test_the_nodes_of_ray_ask_for_a_token(name: str) -> None:
    environment = SERVICES[name]["environment"]
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["RAY_AUTH_TOKEN"].startswith("${RAY_AUTH_TOKEN:?")


def test_only_the_node_of_up_has_the_secrets_of_the_stores() -> None:
    for name in ("ray-head", "ray-worker"):
        assert set(SERVICES[name]["environment"]) == OF_RAY
