"""`relay down`: ends the stack, and says (or, with `everything`, also ends) what outlives it."""

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
"""On every container and network that a node made; its value is the node's id."""
ENGINE_SECONDS = 30
"""For one answer of the engine."""


@dataclass(frozen=True)
class Ended:
    """What `take_down` did and what is left."""

    was_up: bool
    containers_left: int
    """Containers of this node's workspaces that go on; the next start finds them again."""
    containers_removed: int
    engine_left: bool
    """The Docker engine that we started goes on."""
    engine_stopped: bool


def describe(ended: Ended) -> list[str]:
    """What to tell of it, line by line (pure)."""
    lines = ["The stack has ended" if ended.was_up else "No stack was running"]
    if ended.containers_removed:
        lines.append(f"Removed {_containers_of_workspaces(ended.containers_removed)}")
    if ended.engine_stopped:
        lines.append("The Docker engine that Relay started has ended")
    left = [_containers_of_workspaces(ended.containers_left)] if ended.containers_left else []
    left += ["the Docker engine that Relay started"] if ended.engine_left else []
    if left:
        lines.append(f"Still running: {' and '.join(left)}. `relay down --all` ends them too")
    return lines


def take_down(data_dir: Path, *, everything: bool = False) -> Ended:
    """Ends the stack of a data directory; without effect where none runs.

    Args:
        data_dir: whose stack.
        everything: also this node's containers, and the engine where Relay started it. The data stays.
    """
    was_up = stack_is_up(data_dir)
    state = read_state(data_dir)
    if state is not None:
        _end(state, alive=was_up)
        forget_state(data_dir)
    found = find_engine()
    left = removed = 0
    if isinstance(found, Engine):
        left, removed = _containers(found, data_dir, remove=everything)
    return Ended(
        was_up=was_up,
        containers_left=left,
        containers_removed=removed,
        engine_left=not everything and started_engine(data_dir) is not None,
        engine_stopped=everything and stop_engine(data_dir),
    )


def _containers_of_workspaces(count: int) -> str:
    return "1 container of a workspace" if count == 1 else f"{count} containers of workspaces"


def _end(state: StackState, *, alive: bool) -> None:
    """The supervisor while it holds its lock; a process that has its pid by chance is left alone."""
    try:
        supervisor = psutil.Process(state.supervisor_pid)
        if alive and abs(supervisor.create_time() - state.supervisor_began) < 1:
            stop_supervisor(supervisor)
    except psutil.NoSuchProcess:
        return


def _containers(engine: Engine, data_dir: Path, *, remove: bool) -> tuple[int, int]:
    """How many of this node's containers are left, and how many were removed.

    By lists alone: an engine may wait for ever where it is asked for one whose files a step has made to block it.
    """
    node_file = data_dir / "node_id"
    if not node_file.exists():
        return 0, 0
    client = docker.DockerClient(base_url=engine.host, timeout=ENGINE_SECONDS)
    filters = {"label": f"{NODE_LABEL}={node_file.read_text().strip()}"}
    try:
        found = client.api.containers(all=True, filters=filters)
        if not remove:
            return sum(1 for one in found if one["State"] == "running"), 0
        removed = sum(_remove(client, one["Id"]) for one in found)
        for network in client.api.networks(filters=filters):
            with suppress(docker.errors.APIError):  # a container that is left is in it
                client.api.remove_network(network["Id"])
        return len(found) - removed, removed
    except requests.RequestException as error:
        note(f"The containers of this node are not known: the engine did not answer ({type(error).__name__})")
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
