"""The faults: each is a function that makes a part fail and returns when the part is up again."""

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
"""The longest absence of a server."""
MALFORMED = (b"", b"[]", b"{", b"null", b"\xff\xfe", b'{"body": "W10=", "headers": {}}')


@dataclass(frozen=True)
class Death:
    """The death of a worker, and the executions that it carried out."""

    at: float
    """Seconds since the epoch."""
    executions: frozenset[UUID]


@dataclass
class Context:
    """A world and the deaths of its workers."""

    world: World
    random: Random
    deaths: list[Death]

    def node(self) -> Relay:
        """Any node."""
        return self.random.choice(self.world.nodes)

    def kill(self, node: Relay, worker: str) -> None:
        """`kill -9` a worker and note its executions, which have to be adopted."""
        node_id = (node.data_dir / "node_id").read_text().strip()
        asked = "SELECT id FROM execution_processes WHERE status = 'running' AND node_id = :node_id"
        with self.world.api.database.connect() as connection:
            running = frozenset(connection.execute(text(asked), {"node_id": node_id}).scalars())
        node.kill_9(worker)
        self.deaths.append(Death(time.time(), running))

    def pause(self) -> None:
        """Wait for a random time: the length of a fault."""
        time.sleep(self.random.uniform(0, AWAY_SECONDS))


def kill_worker(context: Context) -> None:
    """`kill -9` a worker, and start a new one at once."""
    node = context.node()
    context.kill(node, "worker")
    node.start("worker")


def stop_worker(context: Context) -> None:
    """Stop a worker by SIGSTOP until its lease has passed and another worker takes over; then let both go on."""
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
    """`kill -9` Valkey; it returns with the data that it had written to its disk."""
    context.world.valkey.crash()
    context.pause()
    context.world.valkey.start()


def empty_valkey(context: Context) -> None:
    """Stop Valkey and empty its disk; it returns without data."""
    context.world.valkey.stop()
    context.world.valkey.empty()
    context.pause()
    context.world.valkey.start()


def flush_valkey(context: Context) -> None:
    """Send FLUSHALL to Valkey while everything is connected."""
    with redis.Redis.from_url(context.world.valkey.url) as client:
        client.flushall()


def evict_key(context: Context) -> None:
    """Delete one key of Valkey, as an eviction does."""
    with redis.Redis.from_url(context.world.valkey.url) as client:
        if keys := sorted(client.keys()):
            client.delete(context.random.choice(keys))


def kill_postgres(context: Context) -> None:
    """`kill -9` all processes of Postgres."""
    postgres = context.world.stack.postgres
    postgres.crash()
    context.pause()
    postgres.start()
    api = context.world.api
    api.until(lambda: api.http.get("/v1/executions").is_success, 60, "the API after Postgres' restart")


def double_messages(context: Context) -> None:
    """Send the message of every running execution five times."""
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
    """`kill -9` the engine of the second node; its containers go on (live-restore)."""
    context.world.engine.end_dockerd(signal.SIGKILL)
    context.pause()
    context.world.engine.start()


def restart_dockerd(context: Context) -> None:
    """Restart the engine of the second node in good order."""
    context.world.engine.end_dockerd(signal.SIGTERM)
    context.pause()
    context.world.engine.start()


def drain_node(context: Context) -> None:
    """Drain a node for a moment: it takes no new workspaces."""
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
