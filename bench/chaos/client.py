"""A client of the API that repeats a call until it is answered. Its methods are generators that yield to wait."""

import time
from collections.abc import Generator
from typing import Any
from uuid import uuid4

import httpx
from bench.chaos.world import World
from tests.support.rows import ENDED, STATE, STEP_OR_ALL_ENDED

FINAL = frozenset({"completed", "failed", "killed"})
SERVER_ERROR = 500
ASK_SECONDS = 2.0
"""Longest time between two requests of a wait, whatever Postgres says: the API is asked during each fault, too."""

Waiting = Generator[None, None, Any]


class ChainEndedError(Exception):
    """Raised when all steps of a workspace have ended, but the expected step is not among them."""


class Client:
    """Makes calls that are repeated during an outage of the API, each POST with the same idempotency key."""

    def __init__(self, world: World) -> None:
        self._http = world.api.http
        self._rows = world.api.rows

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Waiting:
        """Send a request until the API answers with a status below 500; return the JSON of that answer.

        Raises:
            AssertionError: the API refuses the request.
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
        """Return an execution with all details."""
        return (yield from self.call("GET", f"/v1/executions/{execution_id}"))

    def steps(self, workspace_id: str) -> Waiting:
        """Return the executions of a workspace, oldest first."""
        return (yield from self.call("GET", f"/v1/workspaces/{workspace_id}/executions"))["items"]

    def step(self, workspace_id: str, reason: str, status: frozenset[str], count: int = 1) -> Waiting:
        """Wait until the ``count``-th execution of a kind has one of these statuses, and return it.

        Args:
            workspace_id: id of the workspace.
            reason: kind of the execution (its `run_reason`).
            status: the statuses to wait for.
            count: 1 for the first execution of the kind, 2 for the second, and so on.

        Raises:
            ChainEndedError: all steps in the workspace have ended, so no further one follows.
        """
        sought = {"workspace_id": workspace_id, "reason": reason, "status": list(status)}
        while True:
            yield from self._worth_asking(STEP_OR_ALL_ENDED, **sought)
            steps = yield from self.steps(workspace_id)
            found = [step for step in steps if step["run_reason"] == reason]
            if len(found) >= count and found[count - 1]["status"] in status:
                return found[count - 1]
            if all(
                step["status"] in FINAL for step in steps
            ):  # a step's end creates the next step in the same transaction
                raise ChainEndedError
            yield

    def final(self, execution_id: str) -> Waiting:
        """Wait until an execution has ended, and return it."""
        while True:
            yield from self._worth_asking(ENDED, execution_id=execution_id)
            told = yield from self.execution(execution_id)
            if told["status"] in FINAL:
                return told
            yield

    def settled(self, workspace_id: str, state: str) -> Waiting:
        """Wait until a workspace is in this state and no other state is requested, and return it."""
        while True:
            yield from self._worth_asking(STATE, workspace_id=workspace_id, state=state)
            told = yield from self.call("GET", f"/v1/workspaces/{workspace_id}")
            if (told["state"], told.get("requested_state")) == (state, None):
                return told
            yield

    def _worth_asking(self, stored: str, **values: Any) -> Waiting:
        """Wait until Postgres has what the API is to be asked for, or does not answer, or `ASK_SECONDS` have passed.

        Several requests a second for each run would take as much processor time as the runs themselves.
        """
        until = time.monotonic() + ASK_SECONDS
        while time.monotonic() < until and self._rows.deny(stored, **values):
            yield
