"""The container engine: probed, started, ended; images built once per recipe."""

import contextlib
import json
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import docker
import psutil
import pytest

from relay_cli.stack.engine import Engine, Reach, find_engine, probe
from relay_cli.stack.engine_start import Daemon, start_detached, started_engine, stop_engine
from relay_cli.stack.errors import StackProblem
from relay_cli.stack.images import RECIPE_LABEL, Recipe, build_image, made_by
from relay_cli.stack.leftovers import remember_present, remove_new
from relay_cli.stack.own_images import BASE_TAG

pytestmark = pytest.mark.docker


@pytest.fixture
def short_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="relay-") as folder:
        yield Path(folder)


@pytest.fixture
def client() -> Iterator[docker.DockerClient]:
    found = find_engine()
    assert isinstance(found, Engine), found
    client = found.client()
    yield client
    client.close()


def test_what_a_probe_tells_apart(short_folder):
    assert probe(f"unix://{short_folder}/nothing.sock") is Reach.ABSENT
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{short_folder}/dead.sock")
    assert probe(f"unix://{short_folder}/dead.sock") is Reach.DEAD
    assert probe("tcp://127.0.0.1:1") is Reach.DEAD


def test_an_engine_that_is_named_and_dead_is_a_problem_and_no_other_is_taken(short_folder):
    with pytest.raises(StackProblem, match="RELAY_DOCKER_HOST or DOCKER_HOST"):
        find_engine({"DOCKER_HOST": f"unix://{short_folder}/nothing.sock"})


def test_an_engine_we_start_is_remembered_and_can_be_ended(short_folder):
    daemon = Daemon(
        f"unix://{short_folder}/d.sock",
        (
            *(f"--data-root={short_folder}/data", f"--exec-root={short_folder}/exec"),
            *(f"--pidfile={short_folder}/d.pid", "--bridge=none", "--iptables=false", "--ip6tables=false"),
        ),
        # A dockerd without a bridge removes docker0, which belongs to the engine of this machine.
        inside=("unshare", "--net", "--mount"),
    )
    try:
        assert start_detached(short_folder, daemon) == Engine(daemon.host)
        started = started_engine(short_folder)
        assert started is not None
        assert psutil.Process(started.pid).name() == "dockerd"
        assert os.getsid(started.pid) == started.pid
    finally:
        assert stop_engine(short_folder)
    assert probe(daemon.host) is not Reach.ANSWERS
    assert started_engine(short_folder) is None
    assert not stop_engine(short_folder)


def test_an_engine_that_does_not_start_shows_the_end_of_its_log(short_folder):
    with pytest.raises(StackProblem, match=r"(?s)does not start here.*no-such-option"):
        start_detached(short_folder, Daemon(f"unix://{short_folder}/d.sock", ("--no-such-option",)))
    assert started_engine(short_folder) is None


def test_a_process_with_the_remembered_pid_is_not_ended(tmp_path):
    mine = {"pid": os.getpid(), "began": psutil.Process().create_time() - 1000, "host": "unix:///x"}
    (tmp_path / "engine.json").write_text(json.dumps(mine))
    assert not stop_engine(tmp_path)


def test_an_image_is_built_once_per_recipe(client, tmp_path):
    folder = tmp_path / "recipe"
    folder.mkdir()
    (folder / "Dockerfile").write_text(f"FROM {BASE_TAG}\nCOPY ca-bundle.crt /ca\nCOPY marker /marker\nARG WORD\n")
    (folder / "marker").write_text("one")
    tag = f"relay-test-{os.getpid()}:latest"
    ids = []
    try:
        for marker in ("one", "one", "two"):
            (folder / "marker").write_text(marker)
            recipe = Recipe(tag, folder, {"WORD": "x"})
            ids.append(build_image(client, recipe, tmp_path / "logs"))
            assert made_by(client, tag) == recipe.digest
        assert ids[0] == ids[1] != ids[2]
        assert RECIPE_LABEL in client.images.get(tag).labels
    finally:
        for image in {*ids}:
            client.images.remove(image, force=True)


def test_a_build_that_fails_shows_the_end_of_its_output(client, tmp_path):
    (tmp_path / "Dockerfile").write_text(f"FROM {BASE_TAG}\nRUN echo what happened; exit 7\n")
    with pytest.raises(StackProblem, match=r"(?s)what happened.*returned a non-zero code: 7"):
        build_image(client, Recipe("relay-test-broken", tmp_path), tmp_path / "logs")


def test_the_base_image_has_what_projects_expect(client):
    command = ["sh", "-c", "git --version && python -m venv /tmp/v && /tmp/v/bin/pip --version && ps && id -un 1000"]
    output = client.containers.run(BASE_TAG, command, remove=True, network_mode="none").decode()
    assert "git version" in output
    assert output.endswith("agent\n")


def test_of_new_containers_only_those_are_removed_whose_folders_are_gone(client, short_folder):
    kept, gone = short_folder / "kept", short_folder / "gone"
    containers = []
    try:
        remember_present(client, short_folder)
        for folder in (kept, gone):
            folder.mkdir()
            mounts = {str(folder): {"bind": "/x", "mode": "ro"}}
            containers.append(client.containers.create(BASE_TAG, ["true"], volumes=mounts, network_mode="none"))
        gone.rmdir()
        remove_new(client, short_folder)
        containers[0].reload()
        with pytest.raises(docker.errors.NotFound):
            containers[1].reload()
    finally:
        for container in containers:
            with contextlib.suppress(docker.errors.NotFound):
                container.remove(force=True)
