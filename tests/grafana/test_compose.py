"""The compose file, provisioning and Prometheus's configuration are well-formed, consistent, and on loopback only."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from .committed import HOME

_COMPOSE: dict[str, Any] = yaml.safe_load((HOME / "compose.yml").read_text())
_SERVICES: dict[str, Any] = _COMPOSE["services"]
_SOURCES: dict[str, Any] = yaml.safe_load((HOME / "provisioning" / "datasources" / "prometheus.yml").read_text())
_PROMETHEUS: dict[str, Any] = yaml.safe_load((HOME / "prometheus" / "prometheus.yml").read_text())


def mounts(service: str) -> dict[str, str]:
    """What is where in a container: source by target."""
    return {target: source for source, target, *_ in (volume.split(":") for volume in _SERVICES[service]["volumes"])}


def test_both_are_bound_to_the_loopback_address() -> None:
    assert set(_SERVICES) == {"prometheus", "grafana"}
    for service in _SERVICES.values():
        assert service["network_mode"] == "host"  # so nothing is published, and what each listens on is all
        assert "ports" not in service
    assert "--web.listen-address=127.0.0.1:9090" in _SERVICES["prometheus"]["command"]
    assert _SERVICES["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"


def test_nobody_can_change_anything() -> None:
    settings = _SERVICES["grafana"]["environment"]
    assert settings["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert settings["GF_AUTH_BASIC_ENABLED"] == "false"
    assert settings["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert all(isinstance(value, str) for value in settings.values()), "compose takes strings only for true and false"


def test_images_are_pinned() -> None:
    for service in _SERVICES.values():
        name, _, tag = service["image"].partition(":")
        assert name
        assert tag.count(".") == 2


@pytest.mark.parametrize("service", _SERVICES)
def test_every_file_that_is_mounted_is_there_and_read_only(service: str) -> None:
    for volume in _SERVICES[service]["volumes"]:
        source, _, *mode = volume.split(":")
        if source.startswith("."):
            assert (HOME / source).is_dir()
            assert mode == ["ro"]
        else:
            assert source in _COMPOSE["volumes"]


def test_grafana_finds_its_dashboards_and_prometheus() -> None:
    provider = yaml.safe_load((HOME / "provisioning" / "dashboards" / "dueq.yml").read_text())["providers"][0]
    assert mounts("grafana")[provider["options"]["path"]] == "./dashboards"
    home = Path(_SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert str(home.parent) == provider["options"]["path"]
    assert (HOME / "dashboards" / home.name).is_file()
    [source] = _SOURCES["datasources"]
    assert source["url"] == "http://127.0.0.1:9090"
    assert source["isDefault"]


def test_graphs_choose_their_windows_by_the_scrape_interval() -> None:
    [source] = _SOURCES["datasources"]
    assert source["jsonData"]["timeInterval"] == _PROMETHEUS["global"]["scrape_interval"]


def test_prometheus_scrapes_where_dueq_shows_its_page() -> None:
    from dueq.core.config import RunOptions

    options = RunOptions("shop:app")
    [job] = _PROMETHEUS["scrape_configs"]
    assert job["job_name"] == "dueq"
    assert job["static_configs"] == [{"targets": [f"{options.metrics_host}:{options.metrics_port}"]}]


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: apt-get install prometheus)"
)
def test_promtool_takes_the_configuration() -> None:
    path = HOME / "prometheus" / "prometheus.yml"
    result = subprocess.run(["promtool", "check", "config", str(path)], text=True, capture_output=True, timeout=30)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 rule files found" in result.stdout
