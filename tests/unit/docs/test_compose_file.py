"""docker-compose.yml: what may be reached, who has the engine's socket, and that no password has a default."""

import re
from pathlib import Path

import pytest
import yaml

from relay_core.settings import Settings
from relay_stack.services.programs import flower_command

FILE = Path(__file__).parents[3] / "docker-compose.yml"
TEXT = FILE.read_text()
SERVICES = yaml.safe_load(TEXT)["services"]
LASTING = [name for name in SERVICES if name != "migrate"]
STORES = ["postgres", "redis"]


def test_the_services_are_those_of_a_stack():
    assert set(LASTING) == {"postgres", "redis", "api", "worker", "flower"}


@pytest.mark.parametrize("name", LASTING)
def test_every_lasting_service_says_how_it_is(name):
    assert SERVICES[name]["healthcheck"]["test"]


def test_stores_publish_nothing_and_the_others_on_loopback_only():
    assert [name for name in [*STORES, "worker"] if SERVICES[name].get("ports")] == []
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_only_the_worker_has_the_socket():
    having = [
        name for name, service in SERVICES.items() if any("docker.sock" in one for one in service.get("volumes", []))
    ]
    assert having == ["worker"]
    assert not any(service.get("privileged") for service in SERVICES.values())


def test_the_data_directory_is_the_same_inside_and_out():
    directory = SERVICES["worker"]["environment"]["RELAY_DATA_DIR"]
    assert f"{directory}:{directory}" in SERVICES["worker"]["volumes"]


def test_passwords_are_required_and_no_argument():
    assert (
        re.findall(r"\$\{\w*PASSWORD\w*(?!\w*:\?)[^\w}:][^}]*\}|\$\{\w*PASSWORD\w*\}|\$\{\w*PASSWORD\w*:-", TEXT) == []
    )
    assert not any("PASSWORD:" in str(service.get("command")) for service in SERVICES.values())


def test_settings_given_to_relay_exist():
    known = {f"RELAY_{name.upper()}" for name in Settings.model_fields} | {"FLOWER_BASIC_AUTH"}
    for name in ("migrate", "api", "worker", "flower"):
        assert set(SERVICES[name]["environment"]) <= known, name


def test_flower_is_told_the_same_as_in_the_local_stack():
    local = set(flower_command(5555, Path("/tmp/flower"))[5:]) - {"--address=127.0.0.1"}
    assert local - set(SERVICES["flower"]["command"]) == set()


def test_nothing_starts_on_an_old_schema():
    for name in ("api", "worker", "flower"):
        assert SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_no_service_has_more_rights_than_it_needs():
    for name, service in SERVICES.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
    assert {name for name, service in SERVICES.items() if service.get("cap_add")} == {*STORES, "worker"}
    ours = {name: service["user"] for name, service in SERVICES.items() if name not in STORES}
    assert ours == {"migrate": "relay", "api": "relay", "worker": "root", "flower": "relay"}


def test_flower_knows_the_queue_alone():
    environment = SERVICES["flower"]["environment"]
    assert "RELAY_REDIS_URL" in environment
    assert not {"RELAY_DATABASE_URL", "RELAY_SECRET_KEYS"} & environment.keys()


def test_postgres_has_connections_for_twenty_workers():
    command = SERVICES["postgres"]["command"]
    most = int(re.search(r"max_connections=(\d+)", " ".join(command))[1])
    of_one = 2 * Settings().database_pool_size + 1
    assert 22 * of_one < most
