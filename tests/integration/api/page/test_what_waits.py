"""The page without a browser: why runs wait, and the answer to a path that does not exist."""

import re
from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import event

from relay_core.store.nodes import revocation, runtime_nodes
from relay_core.store.transaction import Database
from tests.support.api_fixtures import Api, api_in_process, problem_of, settings_for

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        yield api


def sign_in(api: Api) -> None:
    form = api.client.get("/sign-in")
    csrf = re.search('name="csrf" value="([^"]*)"', form.text)[1]
    answer = api.client.post("/sign-in", data={"csrf": csrf, "secret": api.tokens["ann"], "next": "/"})
    assert answer.status_code == 200


def plain(answer: httpx.Response) -> str:
    return " ".join(re.sub("<[^>]*>", " ", answer.text).split())


def test_the_limit_that_a_run_waits_for_is_on_every_page_of_it(api: Api):
    limit = api.client.put("/v1/limits/owner/ann", json={"max_runs": 0}, headers=api.as_("admin"))
    assert limit.status_code == 200
    run = api.run()
    sign_in(api)
    waits = "the owner ann has 0 of 0 runs at work"
    assert f"waits: {waits}" in plain(api.client.get("/"))
    assert f"Waits: {waits}" in plain(api.client.get(f"/runs/{run['run_id']}"))
    assert waits in plain(api.client.get("/fleet"))


def test_the_fleet_reads_why_steps_wait_with_as_many_queries_for_ten_as_for_two(api: Api):
    sign_in(api)
    engine = api.app.state.services.database.engine
    statements = []

    def note(*_: object) -> None:
        statements.append(1)

    counts = []
    for more in (2, 8):  # one step alone is first asked whether it starts at once
        for _ in range(more):
            api.run(needs=["gpu"])
        statements.clear()
        event.listen(engine, "before_cursor_execute", note)
        text = plain(api.client.get("/fleet"))
        event.remove(engine, "before_cursor_execute", note)
        counts.append(len(statements))
    assert text.count("no node of the pool default declares gpu") == 10
    assert 0 < counts[0] == counts[1]


@pytest.mark.parametrize("signed_in", [True, False])
def test_a_browser_gets_a_page_for_a_path_that_does_not_exist(api: Api, signed_in: bool):
    if signed_in:
        sign_in(api)
    answer = api.client.get("/nothing<script>", headers=HTML)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "there is nothing here" in plain(answer)
    assert ("Sign out" in answer.text) == signed_in
    assert "nothing<script>" not in answer.text
    assert "script-src 'nonce-" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("path", "headers"), [("/nothing", {}), ("/nothing", {"Accept": "application/json"}), ("/v1/nothing", HTML)]
)
def test_other_clients_and_the_api_answer_json_for_it(api: Api, path: str, headers: dict[str, str]):
    assert problem_of(api.client.get(path, headers=headers))[:2] == (404, "not_found")


def test_the_fleet_shows_that_a_node_is_revoked(api: Api):
    with api.database.begin() as connection:
        runtime_nodes.heartbeat(connection, "n1", pool="default", client_version="1")
        revocation.revoke(connection, "n1")
    api.run()
    sign_in(api)
    text = plain(api.client.get("/fleet"))
    assert " revoked default " in text
    assert "no node has room (n1 is revoked)" in text
