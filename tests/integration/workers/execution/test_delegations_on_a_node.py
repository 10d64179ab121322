"""Delegations with a real container, real git and a real Redis."""

from collections.abc import Iterator
from contextlib import closing
from uuid import UUID

import pytest
import redis
from sqlalchemy import select

from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.chain import Action
from relay_core.domain.step import AgentStep
from relay_core.domain.vocabulary import RunReason
from relay_core.store.delegations import delegations, scopes
from relay_core.store.delegations.delegations import NewDelegation, RuleInput
from relay_core.store.executions import create
from relay_core.store.schema.tables import Event, ScopeDelegation
from relay_core.store.workspaces.delete import delete_workspaces
from tests.support.worker_fixtures import ME, Node

pytest_plugins = ["tests.support.worker_fixtures"]
pytestmark = pytest.mark.docker


@pytest.fixture
def keys(node: Node) -> Iterator[redis.Redis]:
    with closing(redis.Redis.from_url(node.context.settings.redis_url)) as client:
        yield client


def prepared(node: Node) -> UUID:
    made = node.submit()
    assert node.run(node.chain(made, RunReason.CODING_AGENT)["id"])["status"] == "completed"
    return made


def delegate(node: Node, parent: UUID, child: UUID, path: str) -> UUID:
    with node.db.begin() as connection:
        delegations.set_scope(connection, parent, [RuleInput()], [], ME)
        wanted = NewDelegation(parent, child, "part", [RuleInput(path=path)], 600)
        return UUID(str(delegations.delegate(connection, wanted, ME, node.context.settings.presence)["id"]))


def turn(node: Node, workspace_id: UUID, command: str) -> UUID:
    step = AgentStep(ExecutorChoice("shell", command), "say it", f"repos/{node.repo.name}", follow_up=False)
    session_id = node.step(workspace_id, RunReason.CLONE)["session_id"]
    group = create.NewGroup(session_id, workspace_id, [Action(step)], "someone", None)
    with node.db.begin() as connection:
        made = create.create_group(connection, group)[0]
    assert node.run(made)["status"] == "completed", node.row(made)["error_reason"]
    return made


def state(node: Node, delegation_id: UUID) -> tuple[str, int]:
    with node.db.connect() as connection:
        row = connection.execute(
            select(ScopeDelegation.state, ScopeDelegation.epoch).where(ScopeDelegation.id == delegation_id)
        ).one()
    return row.state, row.epoch


def excluded(node: Node, workspace_id: UUID) -> list[str]:
    with node.db.connect() as connection:
        return [rule.path for rule in scopes.effective(connection, workspace_id).excluded]


def forge(keys: redis.Redis, parent: UUID, child: UUID, delegation_id: UUID) -> None:
    """Keys as a registry in Redis might have them: a live lease of everything."""
    for name in (
        f"relay:lease:{child}",
        f"relay:delegation:{delegation_id}",
        f"relay:scope:{parent}",
        f"lane:{parent}",
    ):
        keys.set(name, '{"state": "active", "path": "", "epoch": 99}')


@pytest.mark.proves("T004-02", "T004-07", "T004-09", "T004-10", "T004-11")
def test_only_postgres_decides_and_the_news_of_a_reclaim_comes_before_the_prompt(node: Node, keys: redis.Redis) -> None:
    """Relay keeps no delegation in Redis: keys that are planted, flushed or forged there change nothing."""
    parent, child = prepared(node), prepared(node)
    made = delegate(node, parent, child, "src")

    forge(keys, parent, child, made)
    turn(node, parent, "true")
    assert (state(node, made), excluded(node, parent)) == (("reserved", 1), ["src"])
    keys.flushdb()
    turn(node, child, "mkdir -p src && echo by the child > src/file")
    assert (state(node, made), excluded(node, parent)) == (("active", 1), ["src"])

    mine = turn(node, parent, "mkdir -p src && echo by the parent > src/file; echo x > elsewhere")
    with node.db.connect() as connection:
        refused = connection.scalars(
            select(Event.payload).where(Event.operation_id == mine, Event.kind == "execution.write_refused")
        ).all()
    assert [one["paths"] for one in refused] == [["src/file"]]

    with node.db.begin() as connection:
        delete_workspaces(connection, [child], "someone")
    forge(keys, parent, child, made)
    told = turn(node, parent, "cat; git log --oneline | wc -l")
    assert (state(node, made), excluded(node, parent)) == (("reclaimed", 2), [])
    prompt = node.log(told).decode()
    assert prompt.startswith("Notice of Relay: subtask 'part'")
    assert prompt.index("Notice of Relay") < prompt.index("say it")
    order = select(Event.kind).where(Event.workspace_id == parent).order_by(Event.workspace_seq)
    with node.db.connect() as connection:
        kinds = list(connection.scalars(order))
    assert kinds.index("delegation.reclaimed") < kinds.index("delegation.notice_given")
    keys.flushdb()
    again = turn(node, parent, "cat")
    assert b"Notice" not in node.log(again)
    assert (state(node, made), excluded(node, parent)) == (("reclaimed", 2), [])
