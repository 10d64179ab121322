"""An owner has a bounded number of clones of projects at work in a pool: when they are sent, and when they are claimed."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest

from relay_core.domain import execution as machine
from relay_core.domain.vocabulary import Scope
from relay_core.store.executions import messages
from relay_core.store.executions.claim import Claimed, NotClaimed, claim
from relay_core.store.executions.finish import finish
from relay_core.store.projects import clone_turns, clones, projects
from relay_core.store.projects.projects import ProjectInput, ProjectRepoInput
from relay_core.store.tokens import Principal
from relay_core.store.views import execution_views
from tests.support.fake_node import ME, FakeNode

pytest_plugins = ["tests.support.fake_node"]

BOB = Principal("bob", frozenset({Scope.WRITE}))


@pytest.fixture(scope="module")
def node(fake_node: FakeNode) -> FakeNode:
    return fake_node


def start(node: FakeNode, by: Principal) -> UUID:
    """Queue the clone of a new project with a remote of its own."""
    url = f"file:///remotes/{uuid4().hex}"
    node.git.add_remote(url, "main", {"README": b"hello\n"})
    with node.database.begin() as connection:
        wanted = ProjectInput(f"p-{uuid4().hex[:8]}", repos=[ProjectRepoInput(url)])
        return clones.start_clone(connection, projects.create(connection, wanted, by), "default", by.owner)


def test_an_owner_has_four_clones_at_once_and_the_others_wait(node: FakeNode) -> None:
    def sent() -> list[UUID]:
        """The messages of the transactions since the last look; they count as published."""
        ids = [message.execution_id for message in node.database.publisher.take()]
        with node.database.begin() as connection:
            messages.mark_published(connection, ids)
        return ids

    sent()
    made = [start(node, ME) for _ in range(clone_turns.MOST_AT_ONCE + 2)]
    first, last = made[: clone_turns.MOST_AT_ONCE], made[-1]
    assert sent() == first
    with node.database.connect() as connection:
        waits = execution_views.execution(connection, last, ME)["waits_for"]
        again = [one.execution_id for each in messages.undispatched(connection, -1) for one in each.messages]
        assert execution_views.execution(connection, first[0], ME)["waits_for"] is None
    assert (waits["kind"], waits["limit"], waits["name"], waits["max_runs"]) == ("limit", "owner", ME.owner, 4)
    assert set(again) & set(made) == set(first)

    node.workers[0].run(first[1])
    assert sent() == [made[-2]]
    node.kill(first[0])
    assert sent() == [last]
    of_bob = start(node, BOB)
    assert sent() == [of_bob]


def test_claims_at_once_begin_no_more_clones_of_an_owner_than_may_be_at_work(node: FakeNode) -> None:
    """The messages of all have arrived, as when two transactions that queued clones met."""
    eve = Principal("eve", ME.scopes)
    made = [start(node, eve) for _ in range(clone_turns.MOST_AT_ONCE + 3)]

    def take(clone: UUID) -> Claimed | NotClaimed:
        with node.database.begin() as connection:
            messages.mark_published(connection, [clone])
        with node.database.begin() as connection:
            return claim(connection, clone, 1, node.workers[0].context.claimant)

    with ThreadPoolExecutor(len(made)) as pool:
        taken = list(pool.map(take, made))
    claimed = [one for one in taken if isinstance(one, Claimed)]
    refused = [clone for clone, one in zip(made, taken, strict=True) if isinstance(one, NotClaimed)]
    assert (len(claimed), len(refused)) == (clone_turns.MOST_AT_ONCE, 3)
    node.database.publisher.take()
    with node.database.begin() as connection:
        finish(connection, claimed[0].execution_id, claimed[0].fence, machine.completed(0))
    assert [message.execution_id for message in node.database.publisher.take()] == refused[:1]
    assert isinstance(take(refused[0]), Claimed)
