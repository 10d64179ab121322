"""Attachments of nodes to pools: attach, heartbeat, capabilities, detach, floors and credentials, through the API."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from relay_core.store.admission import admit
from relay_core.store.executions.claim import Claimed, NotClaimed
from relay_core.store.nodes import attachments
from relay_core.store.nodes.attachments import Attaching
from relay_core.store.transaction import Database
from tests.support.api_fixtures import NODE, RUN, Api, Worker, api_in_process, problem_of, settings_for
from tests.support.node_requests import attach, beat, declare, detach, floor, node_of, online, rows, take


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        yield api


@pytest.mark.proves("T003-01")
@pytest.mark.parametrize("version", ["0.1", "1.1", "99.0"])
def test_without_a_floor_any_version_is_attached_and_registers(api: Api, version: str) -> None:
    answer = attach(api, version=version)
    assert answer.status_code == 200
    assert (answer.json()["read_only"], answer.json()["state"]) == (False, "registering")


@pytest.mark.proves("T003-02")
def test_versions_are_compared_as_numbers(api: Api) -> None:
    floor(api, "1.9")
    assert [attach(api, node, version).json()["read_only"] for node, version in (("n1", "1.9"), ("n2", "1.10"))] == [
        False,
        False,
    ]


@pytest.mark.proves("T003-03")
def test_a_node_below_the_floor_is_attached_read_only_and_what_it_has_can_be_read(api: Api) -> None:
    run = api.run()
    worker = Worker(api.database)
    worker.log(worker.claim(run["execution_id"]), [("stdout", b"hello\n")])
    floor(api, "1.10")
    answer = attach(api, NODE, "1.9")
    assert (answer.status_code, answer.json()["read_only"]) == (200, True)
    assert node_of(api, NODE)["read_only"] is True
    assert api.get(f"/v1/executions/{run['execution_id']}/logs?stream=stdout").content == b"hello\n"
    assert api.get(f"/v1/workspaces/{run['workspace_id']}/diff").status_code == 200
    assert api.get(f"/v1/executions/{run['execution_id']}").json()["status"] == "running", "what it runs it keeps"


@pytest.mark.proves("T003-04")
def test_a_node_below_the_floor_claims_nothing_and_stays_attached(api: Api) -> None:
    online(api, version="1.9")
    run = api.run()
    floor(api, "1.10")
    before = rows(api.database, "runtime_node_attachments", "runtime_nodes", "workspaces", "execution_processes")
    refused = take(api.database, run["execution_id"])
    assert isinstance(refused, NotClaimed)
    assert refused.code == "version.floor_exceeded"
    assert "its protocol version 1.9 is below 1.10, the floor of the pool default" in refused.why
    assert problem_of(declare(api, capabilities={}))[:2] == (409, "version.floor_exceeded")
    after = rows(api.database, "runtime_node_attachments", "runtime_nodes", "workspaces", "execution_processes")
    assert after == before
    assert beat(api).status_code == 204
    found = node_of(api)
    assert (found["state"], found["liveness"], found["read_only"]) == ("online", "online", True)
    floor(api, None)
    assert isinstance(take(api.database, run["execution_id"]), Claimed)


def test_the_steps_of_a_workspace_wait_while_its_node_is_below_the_floor_and_what_runs_goes_on(api: Api) -> None:
    online(api, version="1.9")
    run = api.run(repos=[{**RUN["repos"][0], "setup_script": "make"}])
    claimed = take(api.database, run["execution_id"])
    assert isinstance(claimed, Claimed)
    floor(api, "1.10")
    Worker(api.database).finish(claimed)
    executions = {one["run_reason"]: one for one in api.get(f"/v1/runs/{run['run_id']}/executions").json()["items"]}
    assert executions["clone"]["status"] == "completed"
    refused = take(api.database, executions["setup_script"]["id"])
    assert isinstance(refused, NotClaimed)
    assert refused.code == "version.floor_exceeded"
    waits = api.get(f"/v1/executions/{executions['setup_script']['id']}").json()["waits_for"]
    assert waits["kind"] == "node"
    assert waits["message"].startswith("its node n1 starts nothing: it is read-only")
    with api.database.begin() as connection:
        admit.sweep(connection)
    attach(api, version="1.10")
    beat(api)
    with api.database.begin() as connection:
        connection_messages = admit.sweep(connection)
    assert [str(message.execution_id) for message in connection_messages] == [executions["setup_script"]["id"]]
    assert isinstance(take(api.database, executions["setup_script"]["id"]), Claimed)


@pytest.mark.proves("T003-05")
def test_a_malformed_floor_admits_nothing(api: Api) -> None:
    online(api, "n2")
    run = api.run()
    with api.database.begin() as connection:
        connection.execute(text("INSERT INTO node_pools (pool, min_protocol_version) VALUES ('default', '1.x')"))
    answer = attach(api)
    assert answer.status_code == 500
    with api.database.connect() as connection:
        attached = text("SELECT count(*) FROM runtime_node_attachments WHERE node_id = 'n1'")
        assert connection.scalar(attached) == 0
    with pytest.raises(Exception, match=r'"1\.x" is not a protocol version'):
        take(api.database, run["execution_id"], "n2")
    with api.database.connect() as connection:
        assert connection.scalar(text("SELECT status FROM execution_processes")) == "queued"
    assert node_of(api, "n2")["read_only"] is True, "what there is can be read all the same"
    shown = api.get("/v1/nodes")
    assert (shown.status_code, [node["read_only"] for node in shown.json()["items"]]) == (200, [True])
    waits = api.get(f"/v1/executions/{run['execution_id']}").json()["waits_for"]
    assert "'1.x' is not a protocol version" in waits["message"]
    assert floor(api, "1.0").status_code == 200, "it can be corrected"
    assert isinstance(take(api.database, run["execution_id"], "n2"), Claimed)


@pytest.mark.proves("T003-06")
@pytest.mark.parametrize("version", ["1", "1.2.3", "v1.2", "1.", "01.2", "1.2\n", ""])
def test_a_version_has_two_numbers(api: Api, version: str) -> None:
    assert problem_of(attach(api, version=version))[::2] == (422, ["protocol_version"])
    assert problem_of(floor(api, version))[::2] == (422, ["min_protocol_version"])


@pytest.mark.proves("T003-07")
def test_two_nodes_are_attached_to_one_pool_whose_row_stays_as_it_is(api: Api) -> None:
    floor(api, "1.0")
    before = rows(api.database, "node_pools")
    assert [online(api, node)["state"] for node in ("n1", "n2")] == ["online", "online"]
    assert rows(api.database, "node_pools") == before


@pytest.mark.proves("T003-14")
@pytest.mark.parametrize("word", ["offline", "revoked", "registering"])
def test_what_the_server_says_of_a_node_the_node_cannot_say(api: Api, word: str) -> None:
    online(api)
    before = rows(api.database, "runtime_node_attachments", "runtime_nodes")
    assert attach(api, health=word).status_code == 422
    assert beat(api, health=word).status_code == 422
    assert declare(api, capabilities={}, health_change={"state": word}).status_code == 422
    assert rows(api.database, "runtime_node_attachments", "runtime_nodes") == before


@pytest.mark.proves("T003-16")
def test_a_node_that_is_attached_elsewhere_is_refused_and_the_answer_names_no_other_thing(api: Api) -> None:
    elsewhere = online(api, pool="secret-pool")["attachments"][0]
    answer = attach(api, pool="default")
    assert problem_of(answer)[:2] == (409, "runtimenode.attach_conflict")
    assert "secret-pool" not in answer.text
    assert elsewhere["id"] not in answer.text
    assert [one["pool"] for one in node_of(api)["attachments"]] == ["secret-pool"]
    detach(api)
    assert attach(api, pool="default").status_code == 200


@pytest.mark.proves("T003-17")
def test_of_two_concurrent_attachments_to_two_pools_one_wins(api: Api) -> None:
    for node in (f"n{number}" for number in range(8)):
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda name, node=node: attach(api, node, pool=name), ("a", "b")))
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        active = [one for one in node_of(api, node)["attachments"] if one["state"] == "registering"]
        assert len(active) == 1


@pytest.mark.proves("T003-18")
def test_a_detached_node_that_comes_back_has_its_attachment_again(api: Api) -> None:
    first = online(api)["attachments"][0]
    detach(api)
    assert node_of(api)["state"] == "offline"
    again = attach(api).json()
    assert (again["state"], again["id"], again["attached_at"]) == ("registering", first["id"], first["attached_at"])


@pytest.mark.proves("T003-19")
def test_a_revoked_node_is_not_attached_and_stays_revoked(api: Api) -> None:
    online(api)
    assert api.post("/v1/nodes/n1/revoke", who="admin").json()["state"] == "revoked"
    assert problem_of(attach(api))[:2] == (409, "runtimenode.attach_revoked")
    assert problem_of(attach(api, pool="other"))[:2] == (409, "runtimenode.attach_revoked")
    assert detach(api).status_code == 204
    assert (node_of(api)["state"], node_of(api)["revoked_at"] is not None) == ("revoked", True)
    assert api.post("/v1/nodes/n1/restore", who="admin").json()["state"] == "online"


def test_a_restored_node_has_the_attachment_that_it_had(api: Api) -> None:
    online(api)
    attach(api, "n2", capabilities={"declares": ["GPU!"]})
    detach(api)
    before = [(node_of(api, node)["state"], node_of(api, node)["closed"]) for node in ("n1", "n2")]
    for act in ("revoke", "restore"):
        for node in ("n1", "n2"):
            assert api.post(f"/v1/nodes/{node}/{act}", who="admin").status_code == 200
    assert [(node_of(api, node)["state"], node_of(api, node)["closed"]) for node in ("n1", "n2")] == before
    assert [state for state, _ in before] == ["offline", "degraded"]


@pytest.mark.proves("T003-20")
def test_the_violation_of_another_unique_index_is_no_conflict_of_attachments(api: Api) -> None:
    online(api)
    with api.database.begin() as connection:
        connection.execute(text("CREATE UNIQUE INDEX another ON runtime_node_attachments (protocol_version)"))
    with pytest.raises(IntegrityError, match="another"), api.database.begin() as connection:
        attachments.attach(connection, Attaching("n2", "default", "1.1", {}))
    assert attach(api, "n2").status_code == 500


@pytest.mark.proves("T003-21")
def test_attaching_and_detaching_change_no_workspace_project_or_token(api: Api) -> None:
    online(api)
    api.run()
    owned = ("workspaces", "projects", "project_repos", "tasks", "tokens", "execution_processes")
    before = rows(api.database, *owned)
    attach(api)
    detach(api)
    attach(api)
    assert rows(api.database, *owned) == before


@pytest.mark.proves("T003-22")
def test_a_node_can_be_detached_twice_and_gets_nothing_more(api: Api) -> None:
    online(api)
    run = api.run()
    assert [detach(api, reason="moves").status_code, detach(api).status_code] == [204, 204]
    found = node_of(api)
    assert (found["state"], found["liveness"], found["closed"]) == ("offline", "offline", "it is offline")
    assert beat(api).status_code == 204
    refused = take(api.database, run["execution_id"])
    assert isinstance(refused, NotClaimed)
    assert refused.why == "the node has no room: it is detached"
    events = api.get("/v1/events", "admin").json()["items"]
    [told] = [event["payload"] for event in events if event["kind"] == "node.detached"]
    assert (told["why"], told["pool"]) == ("moves", "default")


@pytest.mark.proves("T003-23")
def test_a_declaration_does_not_make_a_registering_node_online(api: Api) -> None:
    attach(api)
    answer = declare(api, capabilities={"cpus": 4}, health_change={"state": "online"})
    assert problem_of(answer)[:2] == (409, "runtimenode.capabilityupdate_conflict")
    assert declare(api, capabilities={"declares": ["gpu"]}).json()["state"] == "registering"
    assert (node_of(api)["state"], node_of(api)["declares"]) == ("registering", ["gpu"])
    beat(api, health="degraded", detail="disk_pressure")
    assert node_of(api)["state"] == "registering", "only a heartbeat that says online"
    beat(api)
    assert node_of(api)["state"] == "online"


@pytest.mark.proves("T003-24")
def test_a_declaration_that_is_not_valid_makes_the_node_degraded_with_the_reason(api: Api) -> None:
    answer = attach(api, capabilities={"declares": ["GPU!"]}).json()
    assert answer["state"] == "degraded"
    assert "each name in declares has 1 to 64 lower-case letters" in answer["state_reason"]
    beat(api)
    assert node_of(api)["state"] == "degraded", "a heartbeat does not mend a declaration"
    assert node_of(api)["closed"].startswith("it is degraded: each name in declares")
    online(api, "n2")
    assert declare(api, "n2", capabilities={"cpus": -1}).json()["state"] == "degraded"
    assert node_of(api, "n2")["attachments"][0]["state_reason"] == "cpus has to be a number above 0"
    assert declare(api, "n2", capabilities={"cpus": 2}).json()["state"] == "registering"
    beat(api, "n2")
    assert node_of(api, "n2")["state"] == "online"


@pytest.mark.proves("T003-25")
def test_a_node_without_an_active_attachment_declares_nothing(api: Api) -> None:
    online(api)
    detach(api)
    answer = declare(api, capabilities={})
    assert problem_of(answer)[:2] == (409, "runtimenode.capabilityupdate_conflict")
    assert declare(api, "unknown", capabilities={}).status_code == 404


@pytest.mark.proves("T003-26")
@pytest.mark.parametrize("which", ["slot", "presence"])
def test_a_step_is_placed_only_where_attachment_and_presence_allow_it_and_the_roster_shows_both(
    api: Api, which: str
) -> None:
    online(api)
    detach(api)
    beat(api)
    seen = ("offline", "online")
    if which == "presence":
        attach(api)
        beat(api)
        with api.database.begin() as connection:
            connection.execute(text("UPDATE runtime_nodes SET liveness = 'offline'"))
        seen = ("online", "offline")
    [found] = api.get("/v1/nodes").json()["items"]
    assert (found["state"], found["liveness"]) == seen
    run = api.run()
    with api.database.begin() as connection:
        assert admit.sweep(connection) == []
    waits = api.get(f"/v1/executions/{run['execution_id']}").json()["waits_for"]
    assert waits["kind"] == "node"
    beat(api)
    attach(api)
    beat(api)
    with api.database.begin() as connection:
        assert [str(one.execution_id) for one in admit.sweep(connection)] == [run["execution_id"]]


def test_a_heartbeat_of_an_unknown_node_leaves_no_row(api: Api) -> None:
    assert problem_of(beat(api, "unknown"))[:2] == (404, "not_found")
    assert api.get("/v1/nodes").json()["items"] == []
    assert problem_of(beat(api, health="online", detail="disk_pressure"))[::2] == (422, ["detail"])


def test_what_a_node_says_of_itself_is_shown_beside_the_finer_word(api: Api) -> None:
    online(api)
    seen = []
    for health, detail in (("degraded", "disk_pressure"), ("degraded", None), ("online", "draining"), ("online", None)):
        assert beat(api, health=health, detail=detail).status_code == 204
        found = node_of(api)
        seen.append((found["self_report"], found["reported_health"], found["closed"]))
    assert seen == [
        ("degraded", "disk_pressure", "it is short of disk space"),
        ("degraded", "impaired", "it says that it is degraded"),
        ("online", "draining", None),
        ("online", "ok", None),
    ]
