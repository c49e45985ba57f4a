"""What Ray's cluster launcher, Ray Serve and KubeRay are given, held against Ray's own schemas."""

import copy
from typing import Any

import pytest
import ray
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import (
    _derive_autoscaling_config_from_ray_cr,
)
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.serve.schema import ServeDeploySchema

from pipeline.settings import Settings
from serve_app.version import version
from tests.deploy.files import ROOT, read, read_all

LAUNCHER = read("cluster.yaml")
KUBERNETES = read_all("deploy/kuberay.yaml")
(SERVICE,) = (each for each in KUBERNETES if each["kind"] == "RayService")
CLUSTER = SERVICE["spec"]["rayClusterConfig"]
GROUPS = [CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"]]
PODS = [group["template"]["spec"] for group in GROUPS]


# --- the cluster launcher ---------------------------------------------------------------------


def test_the_launcher_takes_it() -> None:
    prepared = prepare_config(copy.deepcopy(LAUNCHER))
    validate_config(prepared)
    types = prepared["available_node_types"]
    assert {
        name: (kind.get("min_workers", 0), kind["max_workers"]) for name, kind in types.items()
    } == {
        "head": (0, 0),
        "cpu": (1, 32),
        "gpu": (0, 0),
    }


def test_the_launcher_takes_it_for_machines_of_ones_own() -> None:
    text = (ROOT / "cluster.yaml").read_text("utf-8").partition("\n# Machines of your own")[2]
    own = yaml.safe_load("\n".join(line.removeprefix("# ") for line in text.splitlines()[2:]))
    config = {
        name: value
        for name, value in LAUNCHER.items()
        if name not in ("available_node_types", "head_node_type", "max_workers")
    }
    validate_config(prepare_config(copy.deepcopy(config | own)))


def test_workers_may_go_away_and_the_head_stays() -> None:
    types = LAUNCHER["available_node_types"]
    for name in ("cpu", "gpu"):
        assert types[name]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "InstanceMarketOptions" not in types["head"]["node_config"]
    assert types["head"]["resources"] == {"CPU": 0}
    assert types["gpu"]["resources"]["GPU"] == 1


def test_every_node_of_the_launcher_asks_for_the_token() -> None:
    assert any("RAY_AUTH_MODE=token" in command for command in LAUNCHER["setup_commands"])
    assert LAUNCHER["file_mounts"]["/home/ubuntu/.ray/auth_token"] == "~/.ray/auth_token"
    assert {".env", ".vodray"} < set(LAUNCHER["rsync_exclude"])


# --- Ray Serve --------------------------------------------------------------------------------


def test_serve_takes_its_configuration_and_kubernetes_gives_the_same() -> None:
    config = read("deploy/serve.yaml")
    schema = ServeDeploySchema.model_validate(config)
    (application,) = schema.applications
    assert application.import_path == "serve_app.deployment:from_environment"
    assert schema.http_options.port == 8083
    assert yaml.safe_load(SERVICE["spec"]["serveConfigV2"]) == config


# --- KubeRay ----------------------------------------------------------------------------------


def test_rays_autoscaler_reads_the_cluster() -> None:
    config = _derive_autoscaling_config_from_ray_cr(
        {"metadata": SERVICE["metadata"], "spec": copy.deepcopy(CLUSTER)}
    )
    types = config["available_node_types"]
    assert types["headgroup"]["resources"]["CPU"] == 0
    assert types["cpu"]["resources"]["CPU"] == 4
    assert (types["cpu"]["min_workers"], types["cpu"]["max_workers"]) == (2, 32)
    assert types["gpu"]["resources"]["GPU"] == 1
    assert config["idle_timeout_minutes"] == 5


@pytest.mark.parametrize("pod", PODS, ids=["head", "cpu", "gpu"])
def test_pods_are_restricted_probed_and_bounded(pod: dict[str, Any]) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["terminationGracePeriodSeconds"] >= 30
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "readOnlyRootFilesystem": True,
    }
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["exec"]["command"][0] == "python"
    assert set(container["resources"]) == {"requests", "limits"}
    assert "memory" in container["resources"]["limits"]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_secrets_are_references() -> None:
    for pod in PODS:
        for variable in pod["containers"][0]["env"]:
            assert set(variable) == {"name", "valueFrom"}
            assert set(variable["valueFrom"]) == {"secretKeyRef"}
    assert not [each for each in KUBERNETES if each["kind"] == "Secret"]
    assert CLUSTER["authOptions"] == {"mode": "token"}


def test_what_the_pods_are_told_vodray_knows() -> None:
    (plain,) = (each["data"] for each in KUBERNETES if each["kind"] == "ConfigMap")
    for pod in PODS:
        told = {variable["name"] for variable in pod["containers"][0]["env"]} | set(plain)
        assert told <= {name.upper() for name in Settings.model_fields}


def test_two_clusters_never_work_on_one_database() -> None:
    assert SERVICE["spec"]["upgradeStrategy"] == {"type": "None"}


def test_disruptions_are_bounded() -> None:
    budgets = [each["spec"] for each in KUBERNETES if each["kind"] == "PodDisruptionBudget"]
    labels = [budget["selector"]["matchLabels"] for budget in budgets]
    for group in CLUSTER["workerGroupSpecs"]:
        assert group["template"]["metadata"]["labels"] in labels
    assert {"ray.io/node-type": "head"} in labels


def test_versions_are_those_that_are_installed() -> None:
    assert CLUSTER["rayVersion"] == ray.__version__
    for pod in PODS:
        assert pod["containers"][0]["image"].endswith(f"/vodray:{version()}")
    assert read("docker-compose.yml")["services"]["vodray"]["image"] == f"vodray:{version()}"
