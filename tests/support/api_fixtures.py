"""A running API on a database of its own, and data as workers would have written it."""

import hashlib
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import uvicorn
from fastapi.testclient import TestClient
from sqlalchemy import update

from relay_api.app import create_app
from relay_core.domain import execution as machine
from relay_core.domain.vocabulary import Stream
from relay_core.live_log.publisher import LiveLogPublisher
from relay_core.settings import Settings
from relay_core.store import tokens
from relay_core.store.executions.claim import Claimant, Claimed, claim
from relay_core.store.executions.finish import Evidence, finish
from relay_core.store.logs.log_store import Append, LogStore, StreamEnd
from relay_core.store.nodes import runtime_nodes
from relay_core.store.schema.tables import Workspace
from relay_core.store.transaction import Database
from tests.support.log_fixtures import append_one
from tests.support.waiting import eventually

NODE = "test-node"
RUN = {
    "repos": [{"url": "https://git.example.org/team/app.git"}],
    "prompt": "Say hello\nand more",
    "executor": {"name": "shell", "command": "cat"},
}


@dataclass
class Api:
    """An application with a client for each kind of token."""

    app: Any
    client: httpx.Client
    settings: Settings
    database: Database
    tokens: dict[str, str]

    def as_(self, who: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[who]}"}

    def get(self, path: str, who: str = "ann", **options: Any) -> httpx.Response:
        return self.client.get(path, headers=self.as_(who) | options.pop("headers", {}), **options)

    def post(self, path: str, body: Any = None, who: str = "ann", **options: Any) -> httpx.Response:
        return self.client.post(path, json=body, headers=self.as_(who) | options.pop("headers", {}), **options)

    def patch(self, path: str, body: Any, who: str = "ann") -> httpx.Response:
        return self.client.patch(path, json=body, headers=self.as_(who))

    def delete(self, path: str, who: str = "ann") -> httpx.Response:
        return self.client.delete(path, headers=self.as_(who))

    def run(self, who: str = "ann", **body: Any) -> dict[str, Any]:
        answer = self.post("/v1/runs", RUN | body, who)
        assert answer.status_code == 202, answer.text
        return answer.json()


def make_tokens(database: Database) -> dict[str, str]:
    wanted = {
        "ann": ("ann", ["runs:read", "runs:write"]),
        "bob": ("bob", ["runs:read", "runs:write"]),
        "reader": ("ann", ["runs:read"]),
        "admin": ("root", ["admin"]),
    }
    with database.begin() as connection:
        return {
            name: tokens.create(connection, name=name, owner=owner, scopes=scopes)[1]
            for name, (owner, scopes) in wanted.items()
        }


def settings_for(database_url: str, redis_url: str, **more: Any) -> Settings:
    values = {"database_url": database_url, "redis_url": redis_url, "api_allowed_hosts": ("testserver", "127.0.0.1")}
    return Settings(**(values | {"database_pool_size": 5} | more))


@contextmanager
def api_in_process(database: Database, settings: Settings) -> Iterator[Api]:
    app = create_app(settings)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield Api(app, client, settings, database, make_tokens(database))


@contextmanager
def api_on_a_port(database: Database, settings: Settings, port: int = 0) -> Iterator[Api]:
    """Served by uvicorn, for streams; on a free port or a given one."""
    # With its protocol, or asyncio leaves Nagle's algorithm on (40 ms for every answer).
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    app = create_app(settings)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    no_authorities = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # to load those that httpx trusts takes 20 ms
    limits = httpx.Limits(max_connections=200)
    with httpx.Client(base_url=url, timeout=60, limits=limits, verify=no_authorities) as client:
        eventually(lambda: server.started)
        yield Api(app, client, settings, database, make_tokens(database))
    server.should_exit = True
    thread.join(10)
    listener.close()


def problem_of(answer: httpx.Response) -> tuple[int, str, list[str]]:
    """Status, code and fields of a problem."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body = answer.json()
    assert body["status"] == answer.status_code
    return answer.status_code, body["code"], [error["field"] for error in body.get("errors", [])]


class Worker:
    """Takes and ends executions through the core, as a worker does, without running anything."""

    def __init__(self, database: Database, live: LiveLogPublisher | None = None) -> None:
        self.database = database
        self.logs = LogStore(database)
        self.live = live
        with database.begin() as connection:
            runtime_nodes.heartbeat(connection, NODE, pool="default", client_version="1", capabilities={})

    def claim(self, execution_id: UUID | str) -> Claimed:
        by = Claimant("worker@test", NODE, "default", 60)
        with self.database.begin() as connection:
            claimed = claim(connection, UUID(str(execution_id)), 1, by)
        assert isinstance(claimed, Claimed), claimed
        return claimed

    def finish(self, claimed: Claimed, transition: machine.Transition | None = None, **evidence: Any) -> None:
        with self.database.begin() as connection:
            end = transition or machine.completed()
            finish(connection, claimed.execution_id, claimed.fence, end, Evidence(**evidence))
        if self.live is not None:
            self.live.end(claimed.execution_id)

    def ready(self, workspace_id: str) -> None:
        """The workspace as after its clone."""
        with self.database.begin() as connection:
            connection.execute(update(Workspace).where(Workspace.id == UUID(workspace_id)).values(state="running"))

    def log(self, claimed: Claimed, pieces: list[tuple[str, bytes]]) -> None:
        """Store pieces of a log, in the order of `all`."""
        for stream, data in pieces:
            start = self.logs.sizes(claimed.execution_id)[stream].bytes
            stored = append_one(self.logs, Append(claimed.execution_id, claimed.fence, stream, start, data))
            if self.live is not None:
                self.live.publish([stored])

    def log_ends(self, claimed: Claimed) -> dict[str, StreamEnd]:
        """The ends of a log that is stored, for `finish(log_ends=…)`."""
        whole = {name: self.read(claimed.execution_id, name) for name in Stream}
        return {name: StreamEnd(len(data), hashlib.sha256(data).hexdigest()) for name, data in whole.items()}

    def read(self, execution_id: UUID, stream: str) -> bytes:
        return self.logs.read(execution_id, stream, 0, self.logs.sizes(execution_id)[stream].bytes)


def environment(database_url: str, redis_url: str, **more: str) -> dict[str, str]:
    return os.environ | {"RELAY_DATABASE_URL": database_url, "RELAY_REDIS_URL": redis_url} | more
