"""The container engine: probed, started, ended; images built once per recipe."""

import contextlib
import json
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import docker
import psutil
import pytest

from relay_cli import main
from relay_stack.errors import StackProblem
from relay_stack.images.build import RECIPE_LABEL, RECIPES, Recipe, build_image, recipe_digest, tag_latest
from relay_stack.images.own_images import BASE_TAG, ensure_image, ensure_images
from relay_stack.images.rootfs import ensure_rootfs
from relay_stack.machine.consent import Consent
from relay_stack.machine.container_engine import Engine, Reach, find_engine, probe
from relay_stack.machine.engine_start import Daemon, start_detached, started_engine, stop_engine
from relay_stack.machine.leftovers import remember_present, remove_new

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


@pytest.fixture
def own_base(client: docker.DockerClient, services_dir: Path) -> str:
    """The base image of this very recipe, whatever ``:latest`` is here."""
    return ensure_images(client, services_dir, Consent(yes=True)).base


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
            assert recipe_digest(client, tag) == recipe.digest
        assert ids[0] == ids[1] != ids[2]
        assert RECIPE_LABEL in client.images.get(tag).labels
    finally:
        for image in {*ids}:
            client.images.remove(image, force=True)


def test_a_build_that_fails_shows_the_end_of_its_output(client, tmp_path):
    (tmp_path / "Dockerfile").write_text(f"FROM {BASE_TAG}\nRUN echo what happened; exit 7\n")
    with pytest.raises(StackProblem, match=r"(?s)what happened.*returned a non-zero code: 7"):
        build_image(client, Recipe("relay-test-broken", tmp_path), tmp_path / "logs")


def test_the_end_of_a_build_that_fails_is_on_the_screen(monkeypatch, capsys):
    """The command printed the first line of the problem alone."""

    told = "Building x failed (all of it in /y):\nwhat happened"

    def fail() -> None:
        raise StackProblem(told)

    monkeypatch.setattr(main, "app", fail)
    with pytest.raises(SystemExit):
        main.main()
    assert capsys.readouterr().err.split() == ["relay:", *told.replace("\n", " ").split(" ")]


def test_installations_with_different_recipes_do_not_fight_over_a_name(client, tmp_path):
    repository = f"relay-test-{uuid4().hex[:8]}"
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
        (folder / "Dockerfile").write_text(f"FROM {BASE_TAG}\nLABEL of={folder.name}\n")

    def installs(folder: Path, *, always: bool = False) -> tuple[str, str]:
        name = ensure_image(client, repository, Recipe(repository, folder), tmp_path / "logs")
        tag_latest(client, name, always=always)
        return name, client.images.get(name).id

    try:
        one, two = (installs(folder) for folder in folders)
        assert one[0] != two[0]
        assert one[1] != two[1]
        client.images.get(one[0]).tag(repository, "latest")
        client.images.remove(one[0], noprune=True)  # made before images had names of their own
        logs = set((tmp_path / "logs").iterdir())
        assert (installs(folders[0]), installs(folders[1])) == (one, two)
        assert set((tmp_path / "logs").iterdir()) == logs
        assert client.images.get(f"{repository}:latest").id == one[1], "who came first"
        installs(folders[1], always=True)
        assert client.images.get(f"{repository}:latest").id == two[1]
    finally:
        for image in client.images.list(repository):
            client.images.remove(image.id, force=True)


def test_without_root_a_root_file_system_that_is_here_is_taken(client, monkeypatch, tmp_path):
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    found = ensure_rootfs(client, tmp_path, Consent(yes=False))
    assert RECIPE_LABEL in client.images.get(found).labels
    assert any(name.startswith("relay-rootfs:") for name in client.images.get(found).tags)


@pytest.mark.parametrize(
    ("before", "account"),
    [
        ("userdel agent", "agent"),
        ("usermod --login ubuntu agent && groupmod --new-name ubuntu agent", "ubuntu"),
        ("usermod --uid 1500 agent", "relay-agent"),
        ("userdel agent && groupadd --gid 1000 users1000", "agent"),
    ],
)
def test_a_base_in_which_uid_1000_or_the_name_is_taken_gets_its_account(client, own_base, before, account):
    script = (RECIPES / "base" / "account.sh").read_text()
    command = ["bash", "-ec", f'{before}\nsh -c "$1"\ngetent passwd 1000', "bash", script]
    entry = client.containers.run(own_base, command, user="0", remove=True, network_mode="none").decode()
    assert entry.splitlines()[-1].split(":")[::5] == [account, "/workspace/home"]


def test_the_base_image_has_what_projects_expect(client, own_base):
    programs = "make jq rg curl git patch unzip xz file"
    look = f"for one in {programs}; do command -v $one >/dev/null || echo no $one; done"
    command = [
        "sh",
        "-c",
        f"{look}; git --version && python -m venv /tmp/v && /tmp/v/bin/pip --version && ps && id -un 1000",
    ]
    output = client.containers.run(own_base, command, remove=True, network_mode="none").decode()
    assert output.startswith("git version"), output
    assert output.endswith("agent\n")


@pytest.mark.alone
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
