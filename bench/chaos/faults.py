"""The faults. Each is a function that makes a part fail and returns when the part is up again."""

import base64
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from uuid import UUID, uuid4

import redis
from bench.chaos.world import World
from sqlalchemy import text
from tests.support.fault_stack import LEASE_SECONDS
from tests.support.relay import Relay

from relay_core.domain.message import QueueMessage, node_queue, pool_queue
from relay_core.domain.vocabulary import RunReason
from relay_core.queue.celery_app import KEY_PREFIX, make_app
from relay_core.queue.dispatcher import CeleryDispatcher
from relay_core.settings import Settings

AWAY_SECONDS = 3.0
"""Longest time for which a fault keeps a server away."""
MALFORMED = (b"", b"[]", b"{", b"null", b"\xff\xfe", b'{"body": "W10=", "headers": {}}')


@dataclass(frozen=True)
class Death:
    """The death of a worker.

    Attributes:
        at: time of the death in seconds since the epoch.
        executions: ids of the executions that ran on the worker's node at that time.
    """

    at: float
    executions: frozenset[UUID]


@dataclass
class Context:
    """The argument of each fault: the parts, the random generator, and a list of the deaths of workers so far."""

    world: World
    random: Random
    deaths: list[Death]

    def node(self) -> Relay:
        """Return a random node."""
        return self.random.choice(self.world.nodes)

    def kill(self, node: Relay, worker: str) -> None:
        """`kill -9` a worker and record its executions, which another worker must take over.

        Args:
            node: the node that the worker belongs to.
            worker: name of the worker's process: `worker` or `worker-2`.
        """
        node_id = (node.data_dir / "node_id").read_text().strip()
        asked = "SELECT id FROM execution_processes WHERE status = 'running' AND node_id = :node_id"
        with self.world.api.database.connect() as connection:
            running = frozenset(connection.execute(text(asked), {"node_id": node_id}).scalars())
        node.kill_9(worker)
        self.deaths.append(Death(time.time(), running))

    def pause(self) -> None:
        """Sleep for a random time up to AWAY_SECONDS, while a part is away."""
        time.sleep(self.random.uniform(0, AWAY_SECONDS))


def kill_worker(context: Context) -> None:
    """`kill -9` a worker, and start a new one at once."""
    node = context.node()
    context.kill(node, "worker")
    node.start("worker")


def stop_worker(context: Context) -> None:
    """Freeze a worker with SIGSTOP until its lease has expired and a second worker has taken over.

    Then continue the first worker and kill the second one.
    """
    node = context.node()
    pid = node.processes["worker"].pid
    os.kill(pid, signal.SIGSTOP)
    node.start("worker-2")
    time.sleep(LEASE_SECONDS + context.random.uniform(0, 4))
    os.kill(pid, signal.SIGCONT)
    context.kill(node, "worker-2")


def kill_api(context: Context) -> None:
    """`kill -9` the API, and start a new one at once."""
    context.world.api.kill_9("api")
    context.world.api.start("api")


def kill_valkey(context: Context) -> None:
    """`kill -9` Valkey and restart it after a pause, with the data that it had written to disk."""
    context.world.valkey.crash()
    context.pause()
    context.world.valkey.start()


def empty_valkey(context: Context) -> None:
    """Stop Valkey, delete its files, and restart it after a pause, without data."""
    context.world.valkey.stop()
    context.world.valkey.empty()
    context.pause()
    context.world.valkey.start()


def flush_valkey(context: Context) -> None:
    """Send FLUSHALL to Valkey, which deletes all its data while clients are connected."""
    with redis.Redis.from_url(context.world.valkey.url) as client:
        client.flushall()


def evict_key(context: Context) -> None:
    """Delete a random key of Valkey, as an eviction would."""
    with redis.Redis.from_url(context.world.valkey.url) as client:
        if keys := sorted(client.keys()):
            client.delete(context.random.choice(keys))


def kill_postgres(context: Context) -> None:
    """`kill -9` all processes of Postgres, restart it after a pause, and wait until the API answers again."""
    postgres = context.world.stack.postgres
    postgres.crash()
    context.pause()
    postgres.start()
    api = context.world.api
    api.until(lambda: api.http.get("/v1/executions").is_success, 60, "the API after Postgres' restart")


def double_messages(context: Context) -> None:
    """Send the queue message of every running execution five more times."""
    app = make_app(Settings(redis_url=context.world.valkey.url))
    asked = (
        "SELECT id, attempt, run_reason, node_id FROM execution_processes "
        "WHERE status = 'running' AND node_id IS NOT NULL"
    )
    with context.world.api.database.connect() as connection:
        rows = connection.execute(text(asked)).all()
    messages = [QueueMessage(row.id, row.attempt, RunReason(row.run_reason), "default", row.node_id) for row in rows]
    CeleryDispatcher(app, context.world.api.database).dispatch(messages * 5)
    app.close()


def malform_messages(context: Context) -> None:
    """Put messages that no worker can read into the queues of the pool and of both nodes."""
    envelope = {
        "body": base64.b64encode(b"[]").decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": "relay.clone", "id": uuid4().hex, "root_id": None, "parent_id": None},
        "properties": {"body_encoding": "base64", "delivery_tag": uuid4().hex, "delivery_info": {}},
    }
    queues = [pool_queue("default"), *map(node_queue, context.world.node_ids())]
    with redis.Redis.from_url(context.world.valkey.url) as client:
        for queue in queues:
            for body in (*MALFORMED, json.dumps(envelope).encode()):
                client.lpush(KEY_PREFIX + queue, body)


def kill_dockerd(context: Context) -> None:
    """`kill -9` the engine of the second node and restart it; its containers keep running (live-restore)."""
    context.world.engine.end_dockerd(signal.SIGKILL)
    context.pause()
    context.world.engine.start()


def restart_dockerd(context: Context) -> None:
    """Stop the engine of the second node normally (SIGTERM) and restart it."""
    context.world.engine.end_dockerd(signal.SIGTERM)
    context.pause()
    context.world.engine.start()


def drain_node(context: Context) -> None:
    """Drain a random node for a moment: it takes no new workspaces meanwhile."""
    node_id = context.random.choice(context.world.node_ids())
    http = context.world.api.http
    http.post(f"/v1/nodes/{node_id}/drain").raise_for_status()
    context.pause()
    http.post(f"/v1/nodes/{node_id}/undrain").raise_for_status()


FAULTS: dict[str, Callable[[Context], None]] = {
    "worker killed": kill_worker,
    "worker stopped": stop_worker,
    "API killed": kill_api,
    "Valkey killed": kill_valkey,
    "Valkey emptied": empty_valkey,
    "Valkey flushed": flush_valkey,
    "Valkey key evicted": evict_key,
    "Postgres killed": kill_postgres,
    "messages doubled": double_messages,
    "messages malformed": malform_messages,
    "dockerd killed": kill_dockerd,
    "dockerd restarted": restart_dockerd,
    "node drained": drain_node,
}
