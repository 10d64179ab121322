"""Remove the containers that a test run left behind: those that did not exist before the test run."""

import json
import os
from pathlib import Path
from typing import Any

import docker

from relay_core.console.output import note
from relay_stack.files.private_file import write_private

OWN_LABELS = "relay."
"""Prefix of Relay's labels. Containers inherit their image's labels, so every container of Relay's images has one."""


def remember_present(client: docker.DockerClient, data_dir: Path) -> None:
    """Record which of Relay's containers exist now, so that `remove_new` keeps them. The data directory must exist."""
    write_private(_file(data_dir), json.dumps(sorted(_relay_containers(client))))


def remove_new(client: docker.DockerClient, data_dir: Path) -> None:
    """Remove Relay's abandoned containers that were created after `remember_present`; print a note for each.

    Without a record of `remember_present`, do nothing.
    """
    if not _file(data_dir).exists():
        return
    before = set(json.loads(_file(data_dir).read_text()))
    for container_id in _relay_containers(client) - before:
        try:
            facts = client.api.inspect_container(container_id)
            if is_abandoned(facts):
                note(f"Removing a container that the tests left: {facts['Name'].lstrip('/')}")
                client.api.remove_container(container_id, force=True, v=True)
        except docker.errors.NotFound:
            continue


def is_abandoned(facts: dict[str, Any]) -> bool:
    """Return whether a container mounts a folder of this machine that no longer exists.

    Tests remove their folders when they end, whereas the folders of running stacks exist.

    Args:
        facts: the result of inspecting the container.
    """
    sources = [mount["Source"] for mount in facts["Mounts"] if mount["Type"] == "bind"]
    return any(not os.path.lexists(source) for source in sources)


def _relay_containers(client: docker.DockerClient) -> set[str]:
    # Use only the list: inspecting one container can block forever on files that a step made.
    containers = client.api.containers(all=True)
    return {str(each["Id"]) for each in containers if any(key.startswith(OWN_LABELS) for key in each["Labels"] or {})}


def _file(data_dir: Path) -> Path:
    return data_dir / "present-before.json"
