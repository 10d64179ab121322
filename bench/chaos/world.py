"""The parts that fail: Postgres, Valkey, an API, and two nodes, each with its own container engine."""

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
            client = node.docker_client()
            labels = [f"relay.node_id={node_id}", "relay.role=workspace"]
            yield from client.containers.list(filters={"label": labels}, ignore_removed=True)
            client.close()


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
    node.remove_containers()
    node.rows.close()
    node.database.dispose()
