"""A node checks that it can run steps, once for each start of its host; where it cannot, it says why."""

import pytest

from relay_workers.containers.self_check import NoStepsHere, check_once
from tests.support.engine_fixtures import base_image
from tests.support.machine import NETWORK

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.docker


def test_a_node_that_can_run_steps_is_checked_once(docker_engine, docker_api, programs_dir):
    data_dir, image = programs_dir.parent, base_image(docker_api)
    assert check_once(docker_engine, data_dir, image, NETWORK)
    assert not check_once(docker_engine, data_dir, image, NETWORK)
    assert docker_api.containers(all=True, filters={"name": "relay-check-"}) == []
    assert not list((data_dir / "probe").iterdir())
    (data_dir / "channels" / "checked").write_text("another relay-pid1")
    assert check_once(docker_engine, data_dir, image, NETWORK)


def test_a_program_that_is_not_relay_pid1_is_named(docker_engine, docker_api, tmp_path, monkeypatch):
    monkeypatch.setattr("relay_workers.containers.docker.channels.BOOTSTRAP_SECONDS", 0.5)
    tmp_path.chmod(0o755)
    programs = tmp_path / "supervisor"
    (programs / "channel").mkdir(parents=True)
    (programs / "relay-pid1").write_text("#!/bin/sh\nsleep 1000\n")
    (programs / "relay-pid1").chmod(0o755)
    with pytest.raises(NoStepsHere, match="did not connect"):
        check_once(docker_engine, tmp_path, base_image(docker_api), NETWORK)
