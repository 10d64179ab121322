"""Moves projects, tasks, workspaces and pull requests to another Relay, one after another.

The states are in the source, and each request may be sent again, so a move that was interrupted anywhere goes on when
it is begun again.
"""

import base64
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from relay_cli.client import Api, ApiUnavailable
from relay_cli.errors import CommandFailed
from relay_core.domain.transfer import FORMAT, EntityType, MigrationStatus
from relay_core.retry import Backoff

State = dict[str, Any]
T = TypeVar("T")
_BACKOFF = Backoff(first_seconds=0.2, last_seconds=5.0)
_REFUSED = {401, 403}
_NOT_THERE = 404
PARENT = {EntityType.TASK: "project_id", EntityType.WORKSPACE: "task_id", EntityType.PR_MERGE: "workspace_id"}
"""The field of a document that names what the entity belongs to."""
_ABOVE = dict(zip(list(EntityType)[1:], EntityType, strict=False))


class TargetRefuses(CommandFailed):
    """Raised when the target takes nothing from this client, so that the move ends."""


@dataclass
class Move:
    """A move of entities from one Relay to another.

    Attributes:
        source: client of the Relay that has them.
        target: client of the other one.
        wait_seconds: how long one of them may be away before the move ends.
        tell: gets the state of each entity after its attempt, with a text that names it.
        remote: ids in the target by kind and id here, of what is migrated.
    """

    source: Api
    target: Api
    wait_seconds: float
    tell: Callable[[State, str], None]
    remote: dict[tuple[str, str], str] = field(default_factory=dict)

    def check(self) -> str:
        """Return the id of the target, if it can take what this version sends.

        Raises:
            CommandFailed: it cannot; the message says what to do.
        """
        try:
            found = self._steadily(self.target, "GET", "/v1/migrations/installation")
        except CommandFailed as error:
            if error.status == _NOT_THERE:
                message = f"the Relay at {self.target.url} is too old to import anything; upgrade it, then migrate"
                raise CommandFailed(message) from None
            raise
        if FORMAT not in found["formats"]:
            reads = ", ".join(map(str, found["formats"]))
            message = (
                f"the Relay at {self.target.url} ({found['version']}) reads the formats {reads} of imports, "
                f"and this one writes {FORMAT}; upgrade the older of the two"
            )
            raise CommandFailed(message)
        return str(found["id"])

    def register(self, target_id: str, project: str | None) -> str:
        """Let the source store a state for each entity that has none; return the owner of these states."""
        body = {"target_id": target_id, "target_url": self.target.url, "project_id": project}
        return str(self._steadily(self.source, "POST", "/v1/migrations", json=body)["owner"])

    def states(self, target_id: str, owner: str) -> list[State]:
        """Return the states of an owner for a target, in the order in which they are moved."""
        order = list(EntityType)
        found = [one for one in self.source.items("/v1/migrations", target_id=target_id) if one["created_by"] == owner]
        return sorted(found, key=lambda state: (order.index(state["entity_type"]), state["local_id"]))

    def run(self, states: Collection[State], only: Collection[str] | None = None) -> Iterator[State]:
        """Move what is not migrated yet; yield the state of each entity after its attempt.

        Args:
            states: from `states`.
            only: ids of the entities to move; None: all.

        Raises:
            CommandFailed: source or target stay away, or the target refuses the token.
        """
        for state in states:
            if state["status"] == MigrationStatus.MIGRATED:
                self.remote[state["entity_type"], state["local_id"]] = state["remote_id"]
            elif only is None or state["local_id"] in only:
                yield self._attempt(state)

    def _attempt(self, state: State) -> State:
        self._steadily(self.source, "POST", f"/v1/migrations/{state['id']}/attempts")
        name = ""
        try:
            document = self._steadily(self.source, "GET", f"/v1/migrations/{state['id']}/document")
            content = document["content"]
            name = str(content.get("name") or content.get("title") or content.get("pr_url") or "")
            orphan = self._without_parent(state, content)
            if orphan is not None:
                return self._settle(state, name, status=MigrationStatus.SKIPPED, error_message=orphan)
            sent = {key: document[key] for key in ("format", "origin_id", "source_id", "entity_type")}
            sent[state["entity_type"]] = self._content(state, content)
            made = self._steadily(self.target, "POST", "/v1/migrations/imports", json=sent)
        except ApiUnavailable:
            raise  # it stays as it is, and the next move goes on with it
        except TargetRefuses as error:
            self._settle(state, name, status=MigrationStatus.FAILED, error_message=str(error))
            raise
        except CommandFailed as error:
            return self._settle(state, name, status=MigrationStatus.FAILED, error_message=str(error))
        self.remote[state["entity_type"], state["local_id"]] = made["id"]
        return self._settle(state, name, status=MigrationStatus.MIGRATED, remote_id=made["id"])

    def _without_parent(self, state: State, content: Mapping[str, Any]) -> str | None:
        """Return why an entity cannot be moved because of the one that it belongs to; None: it can."""
        kind = EntityType(state["entity_type"])
        if kind is EntityType.PROJECT or (_ABOVE[kind], content[PARENT[kind]]) in self.remote:
            return None
        return f"its {_ABOVE[kind]} {content[PARENT[kind]]} is not migrated"

    def _content(self, state: State, content: dict[str, Any]) -> dict[str, Any]:
        kind = EntityType(state["entity_type"])
        if kind is EntityType.PROJECT:
            return content
        here = {PARENT[kind]: self.remote[_ABOVE[kind], content[PARENT[kind]]]}
        if kind is EntityType.TASK:
            return {**content, **here, "image_ids": [self._image(image) for image in content["image_ids"]]}
        if kind is EntityType.WORKSPACE:
            return {**here, "parts": list(self._parts(state))}
        return {**content, **here}

    def _image(self, image_id: str) -> str:
        found = self._steadily(self.source, "GET", f"/v1/images/{image_id}")
        data = self._steadily(self.source, "GET", f"/v1/images/{image_id}/content", raw=True)
        body = {"name": found["original_name"], "data": data}
        return str(self._steadily(self.target, "POST", "/v1/images", json=body)["id"])

    def _parts(self, state: State) -> Iterator[str]:
        """Upload the parts of a workspace that the target lacks; yield the checksums of all of them."""
        path, cursor = f"/v1/migrations/{state['id']}/parts", None
        while True:
            part = self._steadily(self.source, "GET", path, params={} if cursor is None else {"cursor": cursor})
            if not self._has(part["sha256"]):
                stored = self._steadily(self.target, "POST", "/v1/migrations/parts", json={"data": part["data"]})
                if stored["sha256"] != part["sha256"]:
                    raise CommandFailed("a part of the workspace was damaged on its way; migrate again")
            yield part["sha256"]
            cursor = part["next_cursor"]
            if cursor is None:
                return

    def _has(self, sha256: str) -> bool:
        try:
            self._steadily(self.target, "GET", f"/v1/migrations/parts/{sha256}")
        except CommandFailed as error:
            if error.status == _NOT_THERE:
                return False
            raise
        return True

    def _settle(self, state: State, name: str, **outcome: Any) -> State:
        settled: State = self._steadily(self.source, "PATCH", f"/v1/migrations/{state['id']}", json=outcome)
        self.tell(settled, name)
        return settled

    def _steadily(self, api: Api, method: str, path: str, *, raw: bool = False, **options: Any) -> Any:
        """Send a request, again while the API is away; return the answer: its JSON, or its bytes in base64.

        Raises:
            ApiUnavailable: it stayed away for `wait_seconds`.
            TargetRefuses: the target refuses the token.
            CommandFailed: the API refuses the request.
        """
        ask = (lambda: _base64(api, path)) if raw else (lambda: api.call(method, path, **options))
        try:
            return self._until_answered(ask)
        except CommandFailed as error:
            if api is self.target and error.status in _REFUSED:
                said = str(error).removesuffix("; check RELAY_TOKEN")
                message = f"the Relay at {api.url} refuses the token: {said}; it needs the scope runs:write"
                raise TargetRefuses(message) from None
            raise

    def _until_answered(self, ask: Callable[[], T]) -> T:
        pauses, until = _BACKOFF.pauses(), time.monotonic() + self.wait_seconds
        while True:
            try:
                return ask()
            except ApiUnavailable:
                pause = next(pauses)
                if time.monotonic() + pause > until:
                    raise
                time.sleep(pause)


def _base64(api: Api, path: str) -> str:
    return base64.b64encode(b"".join(api.body(path))).decode()
