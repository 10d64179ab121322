"""Delegations over HTTP: who holds what, refusals, trees of leases, and what does not change them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import select, text, update

from relay_core.store.schema.tables import Event, ExecutionProcess, ScopeDelegation
from relay_core.store.transaction import Database
from relay_core.store.workspaces import preparation
from tests.support.api_fixtures import Api, api_in_process, problem_of, settings_for

BRANCH = {"path": ""}


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        yield api


def workspace(api: Api, who: str = "ann") -> str:
    return str(api.run(who)["workspace_id"])


def allow(api: Api, workspace_id: str, *paths: str, denied: tuple[str, ...] = ()) -> dict[str, Any]:
    body = {"delegable": [{"path": path} for path in paths or ("",)], "denied": [{"path": path} for path in denied]}
    answer = api.client.put(f"/v1/workspaces/{workspace_id}/scope", json=body, headers=api.as_("ann"))
    assert answer.status_code == 200, answer.text
    return answer.json()


def ask(api: Api, parent: str, child: str, *paths: str, who: str = "ann", **more: Any) -> httpx.Response:
    rules = [{"path": path} for path in paths or ("",)]
    body = {"parent_workspace_id": parent, "child_workspace_id": child, "name": "part", "rules": rules, **more}
    return api.post("/v1/delegations", body, who)


def delegate(api: Api, parent: str, child: str, *paths: str, **more: Any) -> dict[str, Any]:
    answer = ask(api, parent, child, *paths, **more)
    assert answer.status_code == 201, answer.text
    return answer.json()


def scope(api: Api, workspace_id: str) -> tuple[Any, Any]:
    """Paths that a workspace holds, and those that are excluded."""
    found = api.get(f"/v1/workspaces/{workspace_id}/scope").json()
    held = None if found["held"] is None else [rule["path"] for rule in found["held"]]
    return held, [rule["path"] for rule in found["excluded"]]


def listed(api: Api, workspace_id: str) -> list[dict[str, Any]]:
    return list(api.get(f"/v1/workspaces/{workspace_id}/delegations").json()["items"])


def without_cursor(api: Api, workspace_id: str) -> dict[str, Any]:
    """A workspace, without the cursor of its newest event."""
    found = api.get(f"/v1/workspaces/{workspace_id}").json()
    return {key: value for key, value in found.items() if key != "event_cursor"}


def kinds(api: Api, workspace_id: str) -> list[str]:
    events = api.get(f"/v1/workspaces/{workspace_id}/events?limit=500").json()["items"]
    return [event["kind"] for event in events if event["kind"].startswith("delegation.")]


def test_a_branch_is_leased_read_and_released(api: Api):
    parent, child = workspace(api), workspace(api)
    allow(api, parent)
    made = delegate(api, parent, child[:8], name="the parser")
    assert (made["state"], made["epoch"], made["rules"]) == (
        "reserved",
        1,
        [{"repo": "app", "path": "", "permission": "write"}],
    )
    assert api.get(f"/v1/delegations/{made['id']}").json() == made
    assert api.get("/v1/delegations?state=reserved").json()["items"] == listed(api, child) == [made]
    assert scope(api, parent) == (None, [""])
    assert scope(api, child) == ([""], [])
    assert api.get(f"/v1/delegations/{made['id']}", "bob").status_code == 404
    assert ask(api, parent, child, who="bob").status_code == 404

    stale = api.post(f"/v1/delegations/{made['id']}/release", {"epoch": 7})
    assert problem_of(stale)[:2] == (409, "scope_stale_epoch")
    ended = api.post(f"/v1/delegations/{made['id']}/release", {"epoch": 1}).json()
    assert (ended["state"], ended["epoch"]) == ("released", 2)
    assert api.post(f"/v1/delegations/{made['id']}/release").json() == ended
    assert scope(api, parent) == (None, [])
    assert scope(api, child) == ([], [])
    assert kinds(api, parent) == ["delegation.reserved", "delegation.released"]


@pytest.mark.proves("T004-12")
def test_what_the_parent_may_not_write_is_not_leased(api: Api):
    parent, child, third = workspace(api), workspace(api), workspace(api)
    allow(api, parent)
    allow(api, child)
    delegate(api, parent, child, "src")
    assert problem_of(ask(api, child, third, "docs")) == (422, "scope_not_subset", ["rules.0"])
    assert listed(api, third) == []
    assert scope(api, third) == (None, [])


@pytest.mark.proves("T004-13")
def test_of_two_siblings_that_want_one_path_at_once_one_wins(api: Api):
    parent, children = workspace(api), [workspace(api) for _ in range(4)]
    allow(api, parent)
    with ThreadPoolExecutor(4) as pool:
        paths = ["src", "src/a", "", "src/a/b"]
        answers = list(pool.map(lambda pair: ask(api, parent, *pair), zip(children, paths, strict=True)))
    lost = [answer for answer in answers if answer.status_code != 201]
    assert [problem_of(answer)[:2] for answer in lost] == [(409, "scope_write_conflict")] * 3
    assert len(listed(api, parent)) == 1


@pytest.mark.proves("T004-14")
def test_rules_to_read_never_conflict(api: Api):
    parent, children = workspace(api), [workspace(api) for _ in range(3)]
    allow(api, parent)
    reads = {"rules": [{"path": "src", "permission": "read"}]}
    for child in children[:2]:
        delegate(api, parent, child, **reads)
    delegate(api, parent, children[2], "src")
    assert len(listed(api, parent)) == 3
    assert scope(api, parent) == (None, ["src"])


@pytest.mark.proves("T004-15")
def test_the_end_of_a_lease_gives_those_below_it_to_its_parent(api: Api):
    a, b, c = (workspace(api) for _ in range(3))
    allow(api, a)
    allow(api, b)
    upper = delegate(api, a, b, "src")
    lower = delegate(api, b, c, "src/deep")
    assert scope(api, b) == (["src"], ["src/deep"])
    api.post(f"/v1/delegations/{upper['id']}/release")
    moved = api.get(f"/v1/delegations/{lower['id']}").json()
    assert (moved["parent_workspace_id"], moved["state"]) == (a, "reserved")
    assert scope(api, a) == (None, ["src/deep"])
    assert scope(api, c) == (["src/deep"], [])
    released = api.get(f"/v1/workspaces/{a}/events?limit=500").json()["items"][-1]["payload"]
    assert released["inherited"] == [lower["id"]]


@pytest.mark.proves("T004-22")
def test_a_lease_of_a_child_is_told_above_it_and_starts_nothing(api: Api, database: Database):
    a, b, c = (workspace(api) for _ in range(3))
    allow(api, a)
    allow(api, b)
    delegate(api, a, b, "src")
    with database.connect() as connection:
        before = sorted(str(one) for one in connection.scalars(select(ExecutionProcess.id)))
    lower = delegate(api, b, c, "src/deep")
    told = [
        event["payload"]
        for event in api.get(f"/v1/workspaces/{a}/events?limit=500").json()["items"]
        if event["kind"] == "delegation.sub_delegated"
    ]
    assert [(one["delegation_id"], one["visibility"]) for one in told] == [(lower["id"], "control")]
    with database.connect() as connection:
        assert sorted(str(one) for one in connection.scalars(select(ExecutionProcess.id))) == before
        agents = select(Event.id).where(Event.payload["visibility"].as_string() == "agent")
        assert connection.scalars(agents).all() == []


@pytest.mark.proves("T004-26")
def test_a_workspace_without_a_delegable_scope_leases_nothing(api: Api):
    parent, child = workspace(api), workspace(api)
    assert problem_of(ask(api, parent, child, "src"))[:2] == (409, "scope_not_delegable")
    allow(api, parent, "docs")
    assert problem_of(ask(api, parent, child, "src"))[:2] == (409, "scope_not_delegable")
    assert listed(api, parent) == []


@pytest.mark.proves("T004-27")
@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0b", "/"])
def test_names_that_could_be_paths_are_refused(api: Api, name: str):
    parent, child = workspace(api), workspace(api)
    allow(api, parent)
    assert problem_of(ask(api, parent, child, name=name)) == (422, "validation_failed", ["name"])
    assert listed(api, parent) == []


@pytest.mark.parametrize("name", ["a", ".a", "..a", "a..", "...", "a b", ".hidden.x"])
def test_other_names_are_allowed(api: Api, name: str):
    parent, child = workspace(api), workspace(api)
    allow(api, parent)
    assert delegate(api, parent, child, name=name)["name"] == name


@pytest.mark.proves("T004-25")
def test_a_reservation_that_nobody_adopts_ends_and_its_scope_returns(api: Api, database: Database):
    parent, child, next_one = workspace(api), workspace(api), workspace(api)
    allow(api, parent)
    made = delegate(api, parent, child, "src")
    assert scope(api, parent) == (None, ["src"])
    with database.begin() as connection:
        connection.execute(update(ScopeDelegation).values(expires_at=text("now() - interval '1 second'")))
    assert api.get(f"/v1/delegations/{made['id']}").json()["expired"]
    assert scope(api, parent) == (None, [])
    assert scope(api, child) == ([], [])
    assert delegate(api, parent, next_one, "src")["state"] == "reserved"


@pytest.mark.proves("T004-19")
def test_neither_a_lease_nor_the_rest_of_a_workspace_changes_the_other(api: Api, database: Database):
    parent, child = workspace(api), workspace(api)
    sessions = api.get(f"/v1/workspaces/{parent}/sessions").json()
    before = without_cursor(api, parent)
    allow(api, parent)
    made = delegate(api, parent, child, "src")
    assert without_cursor(api, parent) == before
    assert api.get(f"/v1/workspaces/{parent}/sessions").json() == sessions
    with database.begin() as connection:
        preparation.set_fields(connection, UUID(parent), container_id="c1", pinned=True)
    assert api.get(f"/v1/delegations/{made['id']}").json() == made
    assert api.get(f"/v1/workspaces/{parent}/sessions").json() == sessions
    assert scope(api, parent) == (None, ["src"])


def test_who_may_take_part(api: Api):
    parent, child, third = workspace(api), workspace(api), workspace(api)
    allow(api, parent)
    other = api.run(repos=[{"url": "https://git.example.org/team/other.git"}])["workspace_id"]
    assert problem_of(ask(api, parent, parent))[:2] == (422, "child_invalid")
    assert problem_of(ask(api, parent, other))[:2] == (422, "child_invalid")
    assert problem_of(ask(api, parent, str(uuid4())))[:2] == (404, "not_found")
    assert problem_of(ask(api, parent, child, rules=[{"repo": "nope"}])) == (422, "repo_unknown", ["rules.0.repo"])
    assert problem_of(ask(api, parent, child, "../x")) == (422, "path_invalid", ["rules.0.path"])
    delegate(api, parent, child, "a")
    assert problem_of(ask(api, parent, child, "b"))[:2] == (409, "delegation_exists")
    allow(api, child)
    assert problem_of(ask(api, child, parent, "a"))[:2] == (409, "delegation_exists")
    assert problem_of(ask(api, parent, third, "a/x"))[:2] == (409, "scope_write_conflict")


def test_the_lease_of_a_deleted_workspace_is_in_the_way_of_no_other_one(api: Api):
    parent, child, third = workspace(api), workspace(api), workspace(api)
    allow(api, parent)
    made = delegate(api, parent, child, "src")
    assert problem_of(ask(api, parent, third, "src"))[:2] == (409, "scope_write_conflict")
    assert api.delete(f"/v1/workspaces/{child}").status_code in {200, 202, 204}
    delegate(api, parent, third, "src")
    assert api.get(f"/v1/delegations/{made['id']}").json()["reclaim_reason"] == "child_missing"
    assert kinds(api, parent) == ["delegation.reserved", "delegation.reclaimed", "delegation.reserved"]


def test_a_record_that_cannot_be_read_is_an_error(api: Api, database: Database):
    parent, child, third = workspace(api), workspace(api), workspace(api)
    allow(api, parent)
    made = delegate(api, parent, child, "src")
    with database.begin() as connection:
        connection.execute(update(ScopeDelegation).values(rules={"torn": True}))
    assert problem_of(api.get(f"/v1/workspaces/{parent}/scope"))[:2] == (409, "delegation_corrupt")
    assert problem_of(ask(api, parent, third, "docs"))[:2] == (409, "delegation_corrupt")
    assert [one["id"] for one in listed(api, parent)] == [made["id"]]
