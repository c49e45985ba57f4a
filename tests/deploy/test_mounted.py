"""What docker-compose.yml takes from the rest of ``deploy/``."""

import re

from tests.deploy.files import ROOT, read

SERVICES = read("docker-compose.yml")["services"]


def test_what_is_mounted_is_there() -> None:
    mounted = [
        volume.partition(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
        if volume.startswith("./")
    ]
    assert len(mounted) > 3
    assert [path for path in mounted if not (ROOT / path).exists()] == []


def test_the_gateway_finds_the_names_that_it_replaces() -> None:
    configuration = (ROOT / "deploy" / "nginx" / "vodray.conf").read_text("utf-8")
    (command,) = SERVICES["nginx"]["command"]
    replaced = re.findall(r"-e 's([/,])(.+?)\1", command)
    assert len(replaced) == 5
    for _, pattern in replaced:
        assert re.search(pattern, configuration), pattern


def test_prometheus_has_the_rules_and_jobs_that_it_has_elsewhere() -> None:
    here, elsewhere = (
        read(path) for path in ("deploy/compose-prometheus.yml", "deploy/prometheus/prometheus.yml")
    )
    assert here["rule_files"] == elsewhere["rule_files"]
    assert [job["job_name"] for job in here["scrape_configs"]] == [
        job["job_name"] for job in elsewhere["scrape_configs"]
    ]
    for job in here["scrape_configs"]:
        for target in job.get("static_configs", [{}])[0].get("targets", []):
            assert target.partition(":")[0] in SERVICES
        for names in job.get("dns_sd_configs", []):
            assert set(names["names"]) <= set(SERVICES)


def test_grafana_is_told_what_its_provisioning_asks_for() -> None:
    asked = {
        variable
        for file in (ROOT / "deploy" / "grafana" / "provisioning").rglob("*.yml")
        for variable in re.findall(r"\$\{([A-Z_]+)\}", file.read_text("utf-8"))
    }
    assert asked <= set(SERVICES["grafana"]["environment"])
