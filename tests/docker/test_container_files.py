"""The container files: valid where a validator is at hand, closed to the outside in any case."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
SECRETS = {"POSTGRES_PASSWORD": "x", "RAY_AUTH_TOKEN": "y"}


def read(name: str) -> Any:
    return YAML(typ="safe").load(DOCKER / name)


def test_only_a_loopback_port_is_published() -> None:
    services = read("compose.yaml")["services"]
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(str(port).startswith("127.0.0.1:") for port in ports)


def test_no_password_has_a_default() -> None:
    text = (DOCKER / "compose.yaml").read_text()
    found = re.findall(r"\$\{(POSTGRES_PASSWORD|RAY_AUTH_TOKEN)(.*?)\}", text)
    assert {name for name, _ in found} == set(SECRETS)
    assert all(default.startswith(":?") for _, default in found)
    example = (DOCKER / "example.env").read_text().splitlines()
    assert {f"{name}=" for name in SECRETS} <= set(example)


def test_ray_asks_for_its_token_everywhere() -> None:
    for name in ("head", "worker"):
        assert read("compose.yaml")["services"][name]["environment"]["RAY_AUTH_MODE"] == "token"
    cluster = read("cluster.yaml")
    starts = cluster["head_start_ray_commands"] + cluster["worker_start_ray_commands"]
    assert all("RAY_AUTH_MODE=token" in line for line in starts if "ray start" in line)
    spec = read("rayjob.yaml")["spec"]["rayClusterSpec"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        (container,) = group["template"]["spec"]["containers"]
        assert {"name": "RAY_AUTH_MODE", "value": "token"} in container["env"]


def test_every_service_that_others_wait_for_is_watched() -> None:
    services = read("compose.yaml")["services"]
    waited = {name for one in services.values() for name in one.get("depends_on", {})}
    assert waited == {"postgres", "mlflow", "head"}
    assert all("healthcheck" in services[name] for name in waited)


def test_containers_run_as_a_normal_user() -> None:
    lines = (DOCKER / "Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER")] == ["USER 1000"]
    pod = read("rayjob.yaml")["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]


def test_images_and_tools_are_pinned() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    assert re.search(r"^ARG PYTHON=\d+\.\d+\.\d+$", text, re.M)
    assert re.search(r"^ARG UV=\d+\.\d+\.\d+$", text, re.M)
    assert "--constraints constraints.txt" in text
    assert re.search(r"image: postgres:\d+\.\d+", (DOCKER / "compose.yaml").read_text())


def test_the_versions_of_ray_are_one() -> None:
    (pinned,) = re.findall(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.M)
    assert read("rayjob.yaml")["spec"]["rayClusterSpec"]["rayVersion"] == pinned


def test_ray_accepts_the_cluster_file() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(read("cluster.yaml")))  # raises for what its schema refuses


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="needs docker-compose")
@pytest.mark.parametrize("files", [["compose.yaml"], ["compose.yaml", "compose.gpu.yaml"]])
def test_compose_accepts_its_files(files: list[str]) -> None:
    named = [word for file in files for word in ("--file", str(DOCKER / file))]
    command = ["docker-compose", *named, "config", "--quiet"]
    done = subprocess.run(command, env=os.environ | SECRETS, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="needs hadolint")
def test_hadolint_finds_nothing() -> None:
    done = subprocess.run(["hadolint", DOCKER / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
