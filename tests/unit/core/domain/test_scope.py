"""Who may write what: decisions on leases, and random trees of them."""

from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay_core.domain import scope
from relay_core.domain.errors import Conflict, InvalidInput
from relay_core.domain.scope import Lease, Permission, Rule, Scope

REPO, OTHER = uuid4(), uuid4()
A, B, C = uuid4(), uuid4(), uuid4()
ALL = (Rule(REPO),)


def test_a_rule_covers_its_path_and_all_below_it():
    rule = Rule(REPO, "src/app")
    assert rule.covers(REPO, "src/app")
    assert rule.covers(REPO, "src/app/x.py")
    assert not rule.covers(REPO, "src/apple")
    assert not rule.covers(OTHER, "src/app")
    assert Rule(REPO).covers(REPO, "anything")
    assert rule.overlaps(Rule(REPO, "src"))
    assert rule.overlaps(Rule(REPO, "src/app/deep"))
    assert not rule.overlaps(Rule(REPO, "src/appl"))


def test_what_is_leased_is_out_of_the_scope_of_the_parent_only():
    leases = [Lease(uuid4(), A, B, (Rule(REPO, "src"),))]
    parent, child = scope.effective(A, leases), scope.effective(B, leases)
    assert parent.outside(REPO, ["src/a", "docs/a"]) == ["src/a"]
    assert child.outside(REPO, ["src/a", "docs/a"]) == ["docs/a"]
    assert parent.restricted
    assert not scope.effective(C, leases).restricted


def test_a_workspace_without_its_lease_may_write_nothing():
    assert scope.effective(B, [], was_delegated=True).outside(REPO, ["a"]) == ["a"]


def refusal(wanted: Rule, allowed: Scope, leased: list[Lease], delegable: tuple[Rule, ...] | None) -> str:
    with pytest.raises((Conflict, InvalidInput)) as caught:
        scope.check_request([wanted], allowed, leased, delegable)
    assert isinstance(caught.value, Conflict | InvalidInput)
    return caught.value.code


def test_what_may_not_be_leased():
    sibling = Lease(uuid4(), A, B, (Rule(REPO, "src"),))
    allowed = scope.effective(A, [sibling], [Rule(REPO, "secret")])
    assert refusal(Rule(REPO, "docs"), allowed, [sibling], None) == "scope_not_delegable"
    assert refusal(Rule(REPO, "docs"), allowed, [sibling], (Rule(REPO, "lib"),)) == "scope_not_delegable"
    assert refusal(Rule(REPO, "src/a"), allowed, [sibling], ALL) == "scope_write_conflict"
    assert refusal(Rule(REPO), allowed, [sibling], ALL) == "scope_write_conflict"
    assert refusal(Rule(REPO, "secret/x"), allowed, [sibling], ALL) == "scope_not_subset"
    scope.check_request([Rule(REPO, "src", Permission.READ)], allowed, [sibling], ALL)
    scope.check_request([Rule(REPO, "docs")], allowed, [sibling], ALL)


@pytest.mark.parametrize("path", ["/a", "a/../b", ".git/config", "./.git", "a\0b", "x" * 2000])
def test_a_path_stays_in_the_repository(path: str):
    with pytest.raises(ValueError, match="must"):
        scope.clean_path(path)


def test_paths_have_one_spelling():
    assert [scope.clean_path(path) for path in ("", ".", "a//b/", "./a/./b")] == ["", "", "a/b", "a/b"]


@pytest.mark.parametrize(
    "stored",
    [None, {}, "x", [1], [{}], [{"repo_id": "x", "path": "", "permission": "write"}]]
    + [[{"repo_id": str(REPO), "path": path, "permission": word}] for path, word in (("../a", "write"), ("a", "own"))],
)
def test_rules_that_cannot_be_read_are_an_error(stored: object):
    with pytest.raises(Conflict) as caught:
        scope.rules_from_json(stored, "delegation 1")
    assert caught.value.code == "delegation_corrupt"


def test_stored_rules_are_read_back():
    rules = (Rule(REPO, "a/b"), Rule(OTHER, "", Permission.READ))
    assert scope.rules_from_json(scope.rules_to_json(rules), "it") == rules


PATHS = ["", "a", "a/b", "a/b/c", "a/d", "e", "e/f", "g"]
LEAVES = ["a/b/c", "a/b/x", "a/d", "a/y", "e/f", "e/z", "g", "h"]
WORKSPACES = [UUID(int=number) for number in range(1, 7)]
ACTS = st.one_of(
    st.tuples(st.just("lease"), st.sampled_from(WORKSPACES), st.sampled_from(WORKSPACES), st.sampled_from(PATHS)),
    st.tuples(st.just("end"), st.integers(0, 5)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(ACTS, max_size=25), st.sampled_from(PATHS[1:]))
def test_there_are_never_two_writers_of_one_path(acts: list[tuple[str, ...]], denied_path: str):
    """Random requests and ends on one tree, whose root is the first workspace; a refused request changes nothing."""
    root, leases, had = WORKSPACES[0], list[Lease](), set[UUID]()
    denied = [Rule(REPO, denied_path)]

    def allowed(workspace: UUID) -> Scope:
        return scope.effective(workspace, leases, denied, was_delegated=workspace in had or workspace != root)

    for act in acts:
        if act[0] == "lease":
            _, parent, child, path = act
            if child in had or child == root or any(lease.parent == child for lease in leases):
                continue  # each workspace takes part in one lease at most, as the table demands
            given_away = [lease for lease in leases if lease.parent == parent]
            rule = Rule(REPO, path)
            before = list(leases)
            try:
                scope.check_request([rule], allowed(parent), given_away, ALL)
            except (Conflict, InvalidInput):
                assert leases == before
                continue
            leases.append(Lease(uuid4(), parent, child, (rule,)))
            had.add(child)
        elif leases:
            leases = scope.ended(leases, leases[int(act[1]) % len(leases)].id)
        for path in LEAVES:
            writers = [workspace for workspace in WORKSPACES if allowed(workspace).may_write(REPO, path)]
            assert len(writers) <= 1, (path, writers)
            assert not any(rule.covers(REPO, path) for rule in denied for _ in writers)


@given(st.lists(st.sampled_from(PATHS), min_size=1, max_size=6, unique=True))
def test_the_end_of_a_lease_gives_its_children_to_its_parent(paths: list[str]):
    middle = Lease(uuid4(), A, B, tuple(Rule(REPO, path) for path in paths))
    below = Lease(uuid4(), B, C, (Rule(REPO, paths[0]),))
    [left] = scope.ended([middle, below], middle.id)
    assert (left.parent, left.child) == (A, C)
    assert scope.ended([left], middle.id) == [left]
