"""Delegations on a node of fakes with a real Postgres: what happens to them before anything starts in a workspace."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, text, update

from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.chain import Action
from relay_core.domain.nodes import Bounds
from relay_core.domain.scope import Scope
from relay_core.domain.step import AgentStep
from relay_core.domain.vocabulary import RunReason
from relay_core.store.delegations import delegations, reconcile, scopes
from relay_core.store.delegations.delegations import NewDelegation, RuleInput
from relay_core.store.executions import create
from relay_core.store.nodes import attachments, runtime_nodes
from relay_core.store.schema.tables import Event, ExecutionProcess, RuntimeNode, ScopeDelegation, Workspace
from relay_core.store.views import workspace_views
from relay_core.store.workspaces.delete import delete_workspaces
from relay_workers.execution.evidence import EvidenceCollector
from relay_workers.testing.scripted_step import ScriptedStep
from tests.support.fake_node import ME, FakeNode

pytest_plugins = ["tests.support.fake_node"]

D = ScopeDelegation
BRANCH = RuleInput()


@pytest.fixture(scope="module")
def node(fake_node: FakeNode) -> FakeNode:
    return fake_node


def prepared(node: FakeNode) -> UUID:
    """A workspace with a container, in which nothing runs or waits."""
    made = node.submit(ScriptedStep())
    node.workers[0].run(node.newest(made, RunReason.CODING_AGENT)["id"])
    return made


def delegate(node: FakeNode, parent: UUID, child: UUID, *rules: RuleInput) -> UUID:
    """A lease, by default of the whole branch; the parent may lease everything."""
    with node.database.begin() as connection:
        delegations.set_scope(connection, parent, [BRANCH], _denied(connection, parent), ME)
        wanted = NewDelegation(parent, child, "part", rules or (BRANCH,), 600)
        return UUID(str(delegations.delegate(connection, wanted, ME, node.settings.presence)["id"]))


def _denied(connection: Any, workspace_id: UUID) -> list[RuleInput]:
    return [RuleInput(path=rule.path) for rule in scopes.own_scope(connection, workspace_id).denied]


def restore(node: FakeNode, workspace_id: UUID, *, written: str | None = None) -> dict[str, Any]:
    """Carry out a turn in a workspace, which writes a file; the row of its execution."""
    if written is not None:
        file = node.settings.data_dir / "workspaces" / str(workspace_id) / "repos" / "remote" / written
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(uuid4().hex)
    step = AgentStep(ExecutorChoice("shell", ScriptedStep().script()), "go on", "repos/remote", follow_up=False)
    session_id = node.newest(workspace_id, RunReason.CLONE)["session_id"]
    group = create.NewGroup(session_id, workspace_id, [Action(step)], "someone", None)
    with node.database.begin() as connection:
        turn = create.create_group(connection, group)[0]
    node.workers[0].run(turn)
    return node.row(turn)


def lease(node: FakeNode, delegation_id: UUID) -> dict[str, Any]:
    with node.database.connect() as connection:
        return delegations.get(connection, delegation_id, ME)


def scope(node: FakeNode, workspace_id: UUID) -> Scope:
    with node.database.connect() as connection:
        return scopes.effective(connection, workspace_id)


def told(node: FakeNode, workspace_id: UUID, kind: str) -> list[dict[str, Any]]:
    statement = select(Event.payload).where(Event.workspace_id == workspace_id, Event.kind == kind)
    with node.database.connect() as connection:
        return [dict(one) for one in connection.scalars(statement.order_by(Event.workspace_seq))]


def head(node: FakeNode, workspace_id: UUID) -> str | None:
    directory = node.settings.data_dir / "workspaces" / str(workspace_id)
    return node.git.heads(directory, ["remote"])["remote"].commit


def without_a_row(node: FakeNode, delegation_id: UUID) -> None:
    """As if the row of the child had been removed."""
    with node.database.begin() as connection:
        connection.execute(update(D).where(D.id == delegation_id).values(child_workspace_id=uuid4()))


@pytest.mark.proves("T004-01", "T004-03")
def test_the_lease_of_a_child_without_a_row_is_reclaimed_once(node: FakeNode) -> None:
    parent, child = prepared(node), prepared(node)
    made = delegate(node, parent, child)
    assert scope(node, parent).restricted
    without_a_row(node, made)

    assert restore(node, parent, written="a")["status"] == "completed"
    after = lease(node, made)
    assert (after["state"], after["reclaim_reason"], after["epoch"]) == ("reclaimed", "child_missing", 2)
    assert not scope(node, parent).restricted

    for _ in range(2):
        restore(node, parent)
    assert lease(node, made) == after
    assert len(told(node, parent, "delegation.reclaimed")) == 1
    assert len(told(node, parent, "delegation.notice_given")) == 1


@pytest.mark.proves("T004-04")
def test_of_two_leases_with_equal_rules_only_that_of_the_missing_child_is_reclaimed(node: FakeNode) -> None:
    first, second = prepared(node), prepared(node)
    one, other = (delegate(node, parent, prepared(node)) for parent in (first, second))
    third = prepared(node)
    with node.database.begin() as connection:  # equal rules of one parent too, as no request can make them
        copied = dict(connection.execute(select(*D.__table__.columns).where(D.id == one)).mappings().one())
        twin = uuid4()
        connection.execute(D.__table__.insert().values({**copied, "id": twin, "child_workspace_id": third}))
    without_a_row(node, one)
    for _ in range(3):
        restore(node, first)
        restore(node, second)
    assert lease(node, one)["state"] == "reclaimed"
    assert {lease(node, left)["ended_at"] for left in (other, twin)} == {None}
    assert scope(node, first).restricted
    assert scope(node, second).restricted


@pytest.mark.proves("T004-05")
def test_a_denial_equal_to_a_lease_stays_when_that_is_reclaimed(node: FakeNode) -> None:
    parent, child = prepared(node), prepared(node)
    made = delegate(node, parent, child, RuleInput(path="src"))
    with node.database.begin() as connection:
        delegations.set_scope(connection, parent, [BRANCH], [RuleInput(path="src")], ME)
    without_a_row(node, made)
    restore(node, parent)
    assert lease(node, made)["state"] == "reclaimed"
    assert [rule.path for rule in scope(node, parent).excluded] == ["src"]


@pytest.mark.proves("T004-08")
def test_a_lease_of_a_child_that_is_there_stays_and_its_parent_commits_nothing_there(node: FakeNode) -> None:
    parent, child = prepared(node), prepared(node)
    made = delegate(node, parent, child, RuleInput(path="src"))
    before = head(node, parent)
    turn = restore(node, parent, written="src/mine")
    assert turn["status"] == "completed"
    assert lease(node, made)["ended_at"] is None
    assert head(node, parent) == before
    [refused] = told(node, parent, "execution.write_refused")
    assert (refused["repo"], refused["paths"]) == ("remote", ["src/mine"])
    assert ("execution.write_refused", False) in node.events(turn["id"])


def test_a_lease_given_while_a_turn_runs_holds_at_the_end_of_that_turn(node: FakeNode, monkeypatch: Any) -> None:
    parent, child = prepared(node), prepared(node)
    before = head(node, parent)
    settle, made = EvidenceCollector._settle_clones, []

    def delegated_meanwhile(*given: Any) -> Any:
        made.append(delegate(node, parent, child, RuleInput(path="src")))
        return settle(*given)

    monkeypatch.setattr(EvidenceCollector, "_settle_clones", delegated_meanwhile)
    assert restore(node, parent, written="src/mine")["status"] == "completed"
    assert len(made) == 1
    assert head(node, parent) == before
    [refused] = told(node, parent, "execution.write_refused")
    assert refused["paths"] == ["src/mine"]


def test_what_is_inside_of_the_scope_is_committed(node: FakeNode) -> None:
    parent, child = prepared(node), prepared(node)
    made = delegate(node, parent, child, RuleInput(path="src"))
    before = head(node, parent)
    restore(node, parent, written="docs/mine")
    assert head(node, parent) != before
    before = head(node, child)
    restore(node, child, written="src/theirs")
    assert head(node, child) != before
    assert (lease(node, made)["state"], told(node, parent, "delegation.adopted")[0]["delegation_id"]) == (
        "active",
        str(made),
    )
    before = head(node, child)
    restore(node, child, written="docs/not-theirs")
    assert head(node, child) == before
    assert [one["paths"] for one in told(node, child, "execution.write_refused")] == [["docs/not-theirs"]]
    assert told(node, parent, "execution.write_refused") == []


@pytest.mark.proves("T004-16")
def test_the_lease_of_a_child_on_an_offline_node_is_reclaimed_and_its_next_write_is_refused(node: FakeNode) -> None:
    parent, child = prepared(node), prepared(node)
    made = delegate(node, parent, child)
    restore(node, child)
    _move(node, child, "offline")
    restore(node, parent)
    after = lease(node, made)
    assert (after["state"], after["reclaim_reason"], after["epoch"]) == ("reclaimed", "node_offline", 2)

    _move(node, child, None)
    before = head(node, child)
    restore(node, child, written="late")
    assert head(node, child) == before
    assert [one["paths"] for one in told(node, child, "execution.write_refused")] == [["late"]]


def _move(node: FakeNode, workspace_id: UUID, liveness: str | None) -> None:
    """Let a workspace be on another node of a liveness; None: on this one."""
    with node.database.begin() as connection:
        if liveness is not None:
            name = f"other-{liveness}"
            runtime_nodes.heartbeat(connection, name, pool="default", client_version="0", capabilities={})
            silent = update(RuntimeNode).where(RuntimeNode.node_id == name).values(liveness=liveness)
            connection.execute(silent)
        place = "node" if liveness is None else name
        connection.execute(update(Workspace).where(Workspace.id == workspace_id).values(node_id=place))


@pytest.mark.proves("T004-17")
@pytest.mark.parametrize("what", ["degraded", "silent"])
def test_a_child_of_which_nothing_is_known_keeps_its_lease(node: FakeNode, what: str) -> None:
    parent, child = prepared(node), prepared(node)
    made = delegate(node, parent, child)
    restore(node, child)
    if what == "degraded":
        _move(node, child, "degraded")
    else:
        node.containers.faults.lose_request("answers")
        node.containers.faults.lose_request("inspect")
    assert restore(node, parent)["status"] == "completed"
    after = lease(node, made)
    assert (after["state"], after["epoch"]) == ("active", 1)
    assert after["unverified"]
    assert scope(node, parent).restricted
    _move(node, child, None)
    restore(node, parent)
    assert lease(node, made)["unverified"] is None


def test_a_detached_node_keeps_the_leases_of_its_workspaces_until_it_is_silent(node: FakeNode) -> None:
    parent, child = prepared(node), prepared(node)
    made = delegate(node, parent, child)
    restore(node, child)
    _move(node, child, "online")
    with node.database.begin() as connection:
        assert attachments.detach(connection, "other-online", None)
    restore(node, parent)
    assert (lease(node, made)["state"], lease(node, made)["unverified"]) == ("active", "its node is detached")
    with node.database.begin() as connection:
        long_ago = func.now() - timedelta(hours=1)
        silent = update(RuntimeNode).where(RuntimeNode.node_id == "other-online")
        connection.execute(silent.values(last_heartbeat_at=long_ago))
    restore(node, parent)
    assert (lease(node, made)["state"], lease(node, made)["reclaim_reason"]) == ("reclaimed", "node_offline")


def test_the_silence_of_a_detached_node_is_measured_by_the_setting(node: FakeNode) -> None:
    parent, child = prepared(node), prepared(node)
    made = delegate(node, parent, child)
    restore(node, child)
    _move(node, child, "online")
    with node.database.begin() as connection:
        attachments.detach(connection, "other-online", None)
        silent = update(RuntimeNode).where(RuntimeNode.node_id == "other-online")
        long_ago = func.now() - timedelta(seconds=90)
        connection.execute(silent.values(last_heartbeat_at=long_ago, liveness="offline"))
    patient, impatient = Bounds(15, 30, 600), Bounds(15, 30, 60)
    with node.database.begin() as connection:
        reconcile.reconcile(connection, parent, {}, patient)
    assert (lease(node, made)["state"], lease(node, made)["unverified"]) == ("active", "its node is detached")
    with node.database.begin() as connection:
        reconcile.reconcile(connection, parent, {}, impatient)
    assert lease(node, made)["reclaim_reason"] == "node_offline"


@pytest.mark.parametrize(
    ("done", "reason"),
    [("removed", "container_missing"), ("stopped", "child_stopped"), ("deleted", "child_missing")],
)
def test_what_is_proven_of_a_child_takes_its_lease_away(node: FakeNode, done: str, reason: str) -> None:
    parent, child = prepared(node), prepared(node)
    made = delegate(node, parent, child)
    if done == "removed":
        node.containers.remove_behind(node.container(child))
    elif done == "stopped":
        node.containers.stop(node.container(child))
    else:
        with node.database.begin() as connection:
            delete_workspaces(connection, [child], "someone")
    restore(node, parent)
    assert (lease(node, made)["state"], lease(node, made)["reclaim_reason"]) == ("reclaimed", reason)


def node_branch(node: FakeNode, workspace_id: UUID) -> str | None:
    directory = node.settings.data_dir / "workspaces" / str(workspace_id)
    return node.git.heads(directory, ["remote"])["remote"].branch


@pytest.mark.proves("T004-18")
def test_what_a_child_did_stays_readable_after_its_lease_is_reclaimed(node: FakeNode) -> None:
    parent, child = prepared(node), prepared(node)
    made = delegate(node, parent, child)
    turn = restore(node, child, written="work")
    commit = head(node, child)
    node.containers.stop(node.container(child))
    restore(node, parent)
    assert lease(node, made)["state"] == "reclaimed"
    with node.database.connect() as connection:
        shown = workspace_views.workspace(connection, child, ME)
    assert (shown["id"], shown["branch"]) == (child, node_branch(node, child))
    assert node.log(turn["id"]) == b""
    assert node.row(turn["id"])["status"] == "completed"
    assert head(node, child) == commit


@pytest.mark.proves("T004-24")
def test_a_record_that_cannot_be_read_stops_everything_in_the_workspace(node: FakeNode) -> None:
    parent, child = prepared(node), prepared(node)
    made = delegate(node, parent, child)
    with node.database.begin() as connection:
        connection.execute(update(D).where(D.id == made).values(rules=[{"repo_id": "torn"}]))
    turn = restore(node, parent)
    assert (turn["status"], turn["reason"]) == ("failed", "delegation_corrupt")
    assert str(made) in turn["error_reason"]
    assert node.starts(turn["id"]) == 0
    with node.database.connect() as connection:
        kept = connection.execute(select(D.state, D.rules).where(D.id == made)).one()
    assert (kept.state, kept.rules) == ("reserved", [{"repo_id": "torn"}])


def test_a_reservation_that_its_child_takes_too_late_is_reclaimed(node: FakeNode) -> None:
    parent, child = prepared(node), prepared(node)
    made = delegate(node, parent, child)
    with node.database.begin() as connection:
        late = text("now() - interval '1 second'")
        connection.execute(update(D).where(D.id == made).values(expires_at=late))
    restore(node, child)
    assert lease(node, made)["reclaim_reason"] == "reservation_expired"
    assert scope(node, child).held == ()


def test_leases_below_a_child_that_is_gone_are_looked_at_too(node: FakeNode) -> None:
    a, b, c = (prepared(node) for _ in range(3))
    upper = delegate(node, a, b)
    lower = delegate(node, b, c, RuleInput(path="src"))
    for gone in (b, c):
        node.containers.stop(node.container(gone))
    restore(node, a)
    restore(node, a)
    assert [lease(node, one)["state"] for one in (upper, lower)] == ["reclaimed", "reclaimed"]
    assert lease(node, lower)["parent_workspace_id"] == a
    assert not scope(node, a).restricted


def test_a_workspace_without_delegations_asks_nothing_of_them(node: FakeNode) -> None:
    with node.workspace() as workspace_id:
        restore(node, workspace_id, written="free")
        assert told(node, workspace_id, "execution.write_refused") == []
    with node.database.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(ExecutionProcess)) or 0 > 0
