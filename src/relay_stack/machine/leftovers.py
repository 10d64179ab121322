"""Containers that a test run leaves: remembered before it, removed after it."""

import json
import os
from pathlib import Path
from typing import Any

import docker

from relay_core.console.output import note
from relay_stack.files.private_file import write_private

OWN_LABELS = "relay."
"""Images hand their labels down, so every container from an image of ours is recognised."""


def remember_present(client: docker.DockerClient, data_dir: Path) -> None:
    """Notes what is there, so that `remove_new` leaves it alone. The data directory must exist."""
    write_private(_file(data_dir), json.dumps(sorted(_ours(client))))


def remove_new(client: docker.DockerClient, data_dir: Path) -> None:
    """Removes what has come since `remember_present` and is nobody's, saying so; without such a note, nothing."""
    if not _file(data_dir).exists():
        return
    before = set(json.loads(_file(data_dir).read_text()))
    for one in _ours(client) - before:
        try:
            facts = client.api.inspect_container(one)
            if is_abandoned(facts):
                note(f"Removing a container that the tests left: {facts['Name'].lstrip('/')}")
                client.api.remove_container(one, force=True, v=True)
        except docker.errors.NotFound:
            continue


def is_abandoned(facts: dict[str, Any]) -> bool:
    """Whether a folder that it mounts from this machine is gone: tests remove theirs, and others' runs need theirs.

    Args:
        facts: as the engine's inspect gives them.
    """
    sources = [mount["Source"] for mount in facts["Mounts"] if mount["Type"] == "bind"]
    return any(not os.path.lexists(source) for source in sources)


def _ours(client: docker.DockerClient) -> set[str]:
    # By the list alone: an engine may wait for ever where it is asked for one whose files a step has made to block it.
    containers = client.api.containers(all=True)
    return {str(one["Id"]) for one in containers if any(key.startswith(OWN_LABELS) for key in one["Labels"] or {})}


def _file(data_dir: Path) -> Path:
    return data_dir / "present-before.json"
