"""Credentials of nodes, floors of pools, and workers that attach their node when they start."""

from collections.abc import Iterator

import pytest

from relay_core.domain.errors import Conflict
from relay_core.domain.nodes import Capacity
from relay_core.store.nodes import runtime_nodes
from relay_core.store.transaction import Database
from tests.support.api_fixtures import Api, api_in_process, problem_of, settings_for
from tests.support.node_requests import beat, declare, detach, floor, node_of, online


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        yield api


def test_a_node_has_a_credential_that_its_revocation_ends(api: Api) -> None:
    for node in ("n1", "n2"):
        online(api, node)
    made = api.post("/v1/nodes/n1/credentials", who="admin")
    assert (made.status_code, made.json()["scopes"]) == (201, ["node"])
    assert problem_of(api.post("/v1/nodes/n1/credentials"))[0] == 403
    api.tokens["n1"] = made.json()["token"]
    assert api.post("/v1/nodes/n1/heartbeat", {"health": "online"}, "n1").status_code == 204
    assert declare(api, who="n1", capabilities={"declares": ["kvm"]}).status_code == 200
    assert problem_of(api.post("/v1/nodes/n2/heartbeat", {"health": "online"}, "n1"))[0] == 403
    assert problem_of(api.post("/v1/nodes/n2/detach", None, "n1"))[0] == 403
    assert problem_of(api.get("/v1/runs", "n1"))[0] == 403
    assert problem_of(api.post("/v1/nodes/n1/heartbeat", {"health": "online"}, "ann"))[0] == 403
    api.post("/v1/nodes/n1/revoke", who="admin")
    assert problem_of(api.post("/v1/nodes/n1/heartbeat", {"health": "online"}, "n1"))[:2] == (401, "token_invalid")
    assert problem_of(api.post("/v1/nodes/n1/credentials", who="admin"))[:2] == (409, "runtimenode.attach_revoked")
    api.post("/v1/nodes/n1/restore", who="admin")
    assert api.post("/v1/nodes/n1/heartbeat", {"health": "online"}, "n1").status_code == 401, "it needs a new one"


def test_a_floor_only_rises_and_can_be_removed(api: Api) -> None:
    assert floor(api, "1.10").json() == {"pool": "default", "min_protocol_version": "1.10"}
    assert problem_of(floor(api, "1.9"))[:2] == (409, "version.floor_lowered")
    assert floor(api, None).status_code == floor(api, "1.9").status_code == 200
    assert api.get("/v1/pools").json()["items"] == [{"pool": "default", "min_protocol_version": "1.9"}]
    answer = api.client.put("/v1/pools/default", json={"min_protocol_version": None}, headers=api.as_("ann"))
    assert problem_of(answer)[0] == 403


def register(api: Api, pool: str = "default", *declares: str) -> None:
    with api.database.begin() as connection:
        runtime_nodes.register(connection, "n1", pool, Capacity(None, None), declares)


def test_the_workers_of_a_node_are_one_attachment(api: Api) -> None:
    register(api, "default", "gpu")
    first = node_of(api)["attachments"]
    register(api, "default", "gpu")
    assert [(one["id"], one["state"]) for one in node_of(api)["attachments"]] == [(first[0]["id"], "online")]
    with pytest.raises(Conflict, match="detach it there first") as refused:
        register(api, "other")
    assert refused.value.code == "runtimenode.attach_conflict"
    detach(api)
    register(api, "default", "gpu")
    assert node_of(api)["state"] == "registering"
    beat(api)
    assert (node_of(api)["state"], node_of(api)["attachments"][0]["id"]) == ("online", first[0]["id"])
