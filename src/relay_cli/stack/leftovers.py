"""Containers and networks of ours that a test run leaves: remembered before it, removed after it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import docker

from relay_cli.stack.private_file import write_private
from relay_cli.stack.report import say

OWN = "relay"
"""What the labels of our containers and the names of our networks begin with."""


@dataclass(frozen=True)
class Present:
    """Names of what is there, by id."""

    containers: dict[str, str]
    networks: dict[str, str]


def remember_present(client: docker.DockerClient, data_dir: Path) -> None:
    """Notes what is there, so that `remove_new` leaves it alone. The data directory must exist."""
    write_private(_file(data_dir), json.dumps(asdict(_look(client))))


def remove_new(client: docker.DockerClient, data_dir: Path) -> None:
    """Removes what has come since `remember_present`, saying so; without such a note, nothing."""
    if not _file(data_dir).exists():
        return
    before, now = Present(**json.loads(_file(data_dir).read_text())), _look(client)
    for one in now.containers.keys() - before.containers.keys():
        say(f"Removing a container that the tests left: {now.containers[one]}")
        try:
            client.api.remove_container(one, force=True, v=True)
        except docker.errors.NotFound:
            continue
    for one in now.networks.keys() - before.networks.keys():
        client.api.remove_network(one)


def _look(client: docker.DockerClient) -> Present:
    """Images hand their labels down, so every container from an image of ours is recognised."""
    containers = client.containers.list(all=True, ignore_removed=True)
    ours = {str(one.id): str(one.name) for one in containers if any(key.startswith(f"{OWN}.") for key in one.labels)}
    networks = {str(one.id): str(one.name) for one in client.networks.list() if str(one.name).startswith(OWN)}
    return Present(ours, networks)


def _file(data_dir: Path) -> Path:
    return data_dir / "present-before.json"
