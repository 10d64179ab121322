"""A client of the API that repeats a call until it is answered; each method is a generator that yields to wait."""

from collections.abc import Generator
from typing import Any
from uuid import uuid4

import httpx
from bench.chaos.world import World

FINAL = frozenset({"completed", "failed", "killed"})
SERVER_ERROR = 500

Waiting = Generator[None, None, Any]


class ChainEndedError(Exception):
    """A chain ended before the step that was waited for."""


class Client:
    """Calls that survive an outage of the API, each with one idempotency key."""

    def __init__(self, world: World) -> None:
        self._http = world.api.http

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Waiting:
        """JSON of the first answer that is not an outage.

        Raises:
            AssertionError: the API refuses the call.
        """
        headers = {"Idempotency-Key": uuid4().hex} if method == "POST" else {}
        while True:
            try:
                answer = self._http.request(method, path, json=body, headers=headers)
            except httpx.TransportError:
                yield
                continue
            if answer.status_code < SERVER_ERROR:
                assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
                return answer.json()
            yield

    def execution(self, execution_id: str) -> Waiting:
        """One execution in full."""
        return (yield from self.call("GET", f"/v1/executions/{execution_id}"))

    def steps(self, workspace_id: str) -> Waiting:
        """The executions of a workspace, oldest first."""
        return (yield from self.call("GET", f"/v1/workspaces/{workspace_id}/executions"))["items"]

    def step(self, workspace_id: str, reason: str, status: frozenset[str], count: int = 1) -> Waiting:
        """The ``count``-th execution of a kind once it has one of these statuses.

        Raises:
            ChainEndedError: everything in the workspace has ended, and nothing follows.
        """
        while True:
            steps = yield from self.steps(workspace_id)
            found = [step for step in steps if step["run_reason"] == reason]
            if len(found) >= count and found[count - 1]["status"] in status:
                return found[count - 1]
            if all(step["status"] in FINAL for step in steps):  # an end and what follows it are one transaction
                raise ChainEndedError
            yield

    def final(self, execution_id: str) -> Waiting:
        """The execution once it has ended."""
        while (told := (yield from self.execution(execution_id)))["status"] not in FINAL:
            yield
        return told

    def settled(self, workspace_id: str, state: str) -> Waiting:
        """Until the workspace is in this state and nothing else is asked of it."""
        while True:
            told = yield from self.call("GET", f"/v1/workspaces/{workspace_id}")
            if (told["state"], told.get("requested_state")) == (state, None):
                return told
            yield
