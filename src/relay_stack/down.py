"""The use case of `relay down`: stop the stack, and report or remove the containers and the engine that still run."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import docker
import psutil
import requests

from relay_core.console.output import note
from relay_stack.files.data_dir import stack_is_up
from relay_stack.files.stack_state import StackState, forget_state, read_state
from relay_stack.machine.container_engine import Engine, find_engine
from relay_stack.machine.engine_start import started_engine, stop_engine
from relay_stack.start import stop_supervisor

NODE_LABEL = "relay.node_id"
"""Label of every container and network that a node creates; the label's value is the node's id."""
ENGINE_SECONDS = 30
"""Longest wait for an answer of the engine."""


@dataclass(frozen=True)
class TakedownReport:
    """The result of `take_down`."""

    was_up: bool
    """Whether a stack was running."""
    containers_left: int
    """Number of this node's containers that still run; the next start takes them over. With `everything`: the number
    of containers that could not be removed."""
    containers_removed: int
    """Number of this node's containers that were removed."""
    engine_left: bool
    """Whether the Docker engine that Relay started still runs."""
    engine_stopped: bool
    """Whether the Docker engine that Relay started was stopped."""


def describe(report: TakedownReport) -> list[str]:
    """Return the report as lines for people."""
    lines = ["The stack has ended" if report.was_up else "No stack was running"]
    if report.containers_removed:
        lines.append(f"Removed {_containers_of_workspaces(report.containers_removed)}")
    if report.engine_stopped:
        lines.append("The Docker engine that Relay started has ended")
    left = [_containers_of_workspaces(report.containers_left)] if report.containers_left else []
    left += ["the Docker engine that Relay started"] if report.engine_left else []
    if left:
        lines.append(f"Still running: {' and '.join(left)}. `relay down --all` ends them too")
    return lines


def take_down(data_dir: Path, *, everything: bool = False) -> TakedownReport:
    """Stop the stack of a data directory, if one runs. The data stays.

    Args:
        data_dir: data directory of the stack.
        everything: also remove this node's containers, and stop the engine if Relay started it.
    """
    was_up = stack_is_up(data_dir)
    state = read_state(data_dir)
    if state is not None:
        _end(state, was_up=was_up)
        forget_state(data_dir)
    found = find_engine()
    left = removed = 0
    if isinstance(found, Engine):
        left, removed = _containers(found, data_dir, remove=everything)
    return TakedownReport(
        was_up=was_up,
        containers_left=left,
        containers_removed=removed,
        engine_left=not everything and started_engine(data_dir) is not None,
        engine_stopped=everything and stop_engine(data_dir),
    )


def _containers_of_workspaces(count: int) -> str:
    return "1 container of a workspace" if count == 1 else f"{count} containers of workspaces"


def _end(state: StackState, *, was_up: bool) -> None:
    """Stop the supervisor. Do nothing if its pid now belongs to another process."""
    try:
        supervisor = psutil.Process(state.supervisor_pid)
        if was_up and abs(supervisor.create_time() - state.supervisor_began) < 1:
            stop_supervisor(supervisor)
    except psutil.NoSuchProcess:
        return


def _containers(engine: Engine, data_dir: Path, *, remove: bool) -> tuple[int, int]:
    """Count this node's running containers or, with `remove`, remove all its containers and networks.

    It requests only lists from the engine: inspecting one container can block forever on files that a step made.

    Returns:
        The number of containers that are left and the number that were removed; (0, 0) if the engine does not answer.
    """
    node_file = data_dir / "node_id"
    if not node_file.exists():
        return 0, 0
    client = docker.DockerClient(base_url=engine.host, timeout=ENGINE_SECONDS)
    filters = {"label": f"{NODE_LABEL}={node_file.read_text().strip()}"}
    try:
        found = client.api.containers(all=True, filters=filters)
        if not remove:
            return sum(1 for container in found if container["State"] == "running"), 0
        removed = sum(_remove(client, container["Id"]) for container in found)
        for network in client.api.networks(filters=filters):
            with suppress(docker.errors.APIError):  # a container that could not be removed still uses the network
                client.api.remove_network(network["Id"])
        return len(found) - removed, removed
    except requests.RequestException as error:
        note(f"Cannot list the containers of this node: the engine did not answer ({type(error).__name__})")
        return 0, 0
    finally:
        client.close()


def _remove(client: docker.DockerClient, container_id: str) -> bool:
    try:
        client.api.remove_container(container_id, force=True, v=True)
    except docker.errors.NotFound:
        return True
    except (docker.errors.APIError, requests.RequestException) as error:
        note(f"The container {container_id[:12]} cannot be removed: {error}")
        return False
    return True
