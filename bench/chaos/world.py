"""The parts that fail: Postgres, Valkey, an API, and two nodes, each with its own container engine."""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from tests.support.fault_stack import CrashingPostgres, Stack, fault_relay
from tests.support.own_engine import OwnEngine
from tests.support.relay import Relay, make_repo

from relay_core.store.schema.migrate import upgrade
from relay_stack.services.valkey import EmbeddedValkey

PATIENT = {
    "RELAY_CLONE_TIMEOUT_SECONDS": "120",
    "RELAY_DEV_SERVER_START_SECONDS": "90",
    "RELAY_NODE_DEGRADED_SECONDS": "30",
    "RELAY_NODE_OFFLINE_SECONDS": "90",
}
"""Time-outs that are longer than any fault of the bench. A run that ends by a time-out would be correct behaviour, but
would not show whether Relay recovers."""


REMOVAL_SECONDS = 60.0
"""Longest wait for the engine to remove all containers of a node."""


class CrashingValkey(EmbeddedValkey):
    """A Valkey that can be killed and can lose its data."""

    def crash(self) -> None:
        """`kill -9` the server and wait for its end."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def empty(self) -> None:
        """Remove the stored data; the server must be stopped."""
        for path in self.root.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.suffix == ".rdb":
                path.unlink()


@dataclass
class World:
    """All parts of one bench. The two nodes share the API, Postgres and Valkey."""

    root: Path
    stack: Stack
    """The API, Postgres and Valkey, and the first node."""
    valkey: CrashingValkey
    nodes: list[Relay]
    """The two nodes: the first uses this machine's container engine, the second uses `engine`."""
    engine: OwnEngine
    repos: list[Path]
    """Two repositories that runs clone."""

    @property
    def api(self) -> Relay:
        """The first node, whose processes include the API."""
        return self.nodes[0]

    def node_ids(self) -> list[str]:
        """Return the ids of the nodes, in the order of `nodes`."""
        return [(node.data_dir / "node_id").read_text().strip() for node in self.nodes]

    def node_of(self, node_id: str) -> Relay:
        """Return the node with this id."""
        return self.nodes[self.node_ids().index(node_id)]

    def containers(self) -> Iterator[Any]:
        """Yield the running workspace containers of both nodes."""
        for node, node_id in zip(self.nodes, self.node_ids(), strict=True):
            client = node_client(node)
            labels = [f"relay.node_id={node_id}", "relay.role=workspace"]
            yield from client.containers.list(filters={"label": labels}, ignore_removed=True)
            client.close()


def node_client(node: Relay) -> Any:
    """Return a Docker client of the engine that a node uses."""
    host = node.environment.get("RELAY_DOCKER_HOST") or os.environ.get("DOCKER_HOST")
    return docker.DockerClient(base_url=host) if host else docker.from_env()


@contextmanager
def made_world() -> Iterator[World]:
    """Start all parts in a new temporary directory, with one worker on each node; stop and remove them afterwards."""
    root = Path(tempfile.mkdtemp(prefix="relay-chaos-"))
    root.chmod(0o755)
    with ExitStack() as undo:
        undo.callback(shutil.rmtree, root, ignore_errors=True)
        postgres, valkey = CrashingPostgres(root / "postgres"), CrashingValkey(root / "valkey")
        upgrade(postgres.start())
        undo.callback(postgres.stop)
        valkey.start()
        undo.callback(valkey.stop)
        (root / "e").mkdir()
        engine = OwnEngine(root / "e")
        undo.callback(engine.end)
        engine.start()
        engine.load_images()
        nodes = []
        for name in ("a", "b"):
            (root / name).mkdir()
            node = fault_relay(root / name, postgres, valkey)
            node.environment |= PATIENT
            nodes.append(node)
            undo.callback(_end_node, node)
        first, second = nodes
        second.environment |= {
            "RELAY_DOCKER_HOST": engine.host,
            "RELAY_API_PORT": first.environment["RELAY_API_PORT"],
        }
        first.start("api")
        for node in nodes:
            node.start("worker")
        repos = [make_repo(root / f"repo{number}", {"README.md": "# sample\n"}) for number in (1, 2)]
        yield World(root, Stack(first, postgres, valkey, repos[0]), valkey, nodes, engine, repos)


def _end_node(node: Relay) -> None:
    for name in list(node.processes):
        node.kill_9(name)
    if (node.data_dir / "node_id").exists():
        client = node_client(node)
        _remove_containers(client, f"relay.node_id={(node.data_dir / 'node_id').read_text().strip()}")
        for network in client.networks.list(names=[f"^{node.environment['RELAY_CONTAINER_NETWORK']}$"]):
            _remove_network(network)
        client.close()
    node.database.dispose()


def _remove_containers(client: Any, label: str) -> None:
    """Remove all containers with this label and wait until they are gone.

    A killed worker may have begun the removal of some of them.

    Raises:
        TimeoutError: containers still exist after REMOVAL_SECONDS.
    """
    until = time.monotonic() + REMOVAL_SECONDS
    while containers := client.containers.list(all=True, filters={"label": label}, ignore_removed=True):
        if time.monotonic() > until:
            raise TimeoutError(f"containers are not removed: {[container.name for container in containers]}")
        for container in containers:
            with suppress(docker.errors.APIError):  # the container is gone, or its removal has begun
                container.remove(force=True)
        time.sleep(0.2)  # poll: the engine reports the end of a removal only to the client that began it


def _remove_network(network: Any) -> None:
    """Disconnect all containers from a network, then remove it.

    After a kill, an engine may still list containers that no longer exist as connected.
    """
    network.reload()
    for endpoint in network.attrs["Containers"].values():
        with suppress(docker.errors.APIError):  # the container has ended meanwhile
            network.disconnect(endpoint["Name"], force=True)
    network.remove()
