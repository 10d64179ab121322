"""How the API answers requests that are not quite right, and HEAD."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from relay_core.store.transaction import Database
from tests.support.api_fixtures import RUN, Api, Worker, api_in_process, problem_of, settings_for


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        yield api


def send(api: Api, content: bytes, **headers: str) -> Any:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.client.post("/v1/runs", content=content, headers=api.as_("ann") | headers)


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b'{"repos": ', "line 1, column 11"),
        (b'{\n  "repos": [],\n  prompt: "x"}', "line 3, column 3"),
        (b"nothing", "line 1, column 1"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b"[" * 4000, ""),
    ],
)
def test_what_is_no_json_is_answered_with_the_place(api: Api, content: bytes, place: str):
    answer = send(api, content, content_type="application/json")
    assert problem_of(answer)[:2] == (400, "malformed_json")
    assert place in answer.json()["detail"]


@pytest.mark.parametrize(
    "headers", [{}, {"Content-Type": "application/x-www-form-urlencoded"}, {"Content-Type": "text/plain"}]
)
def test_a_body_of_another_type_is_answered_with_the_header_to_send(api: Api, headers: dict[str, str]):
    answer = send(api, b'{"prompt": "x"}', **headers)
    assert problem_of(answer)[:2] == (415, "unsupported_media_type")
    assert "Content-Type: application/json" in answer.json()["detail"]
    # Without a token it is the token that is missing.
    assert api.client.post("/v1/runs", content=b"{}", headers=headers).status_code == 401


def test_an_unknown_query_parameter_is_refused_by_name(api: Api):
    answer = api.get("/v1/executions", params={"limitt": 2, "x": 1})
    assert problem_of(answer) == (422, "validation_failed", ["query.limitt", "query.x"])
    first, second = answer.json()["errors"]
    assert first["message"].startswith("there is no such parameter; did you mean limit? known: ")
    assert "workspace_id" in second["message"]
    assert problem_of(api.post("/v1/runs?dry_run=1", RUN)) == (422, "validation_failed", ["query.dry_run"])
    assert "no query parameters" in api.get(f"/v1/tasks/{api.run()['task_id']}?x=1").json()["detail"]


def test_wrong_fields_have_one_error_each(api: Api):
    answer = api.post("/v1/runs", RUN | {"executor": "codex", "env": {"A": 1}, "secrets": 1})
    assert problem_of(answer) == (422, "validation_failed", ["executor", "env.A", "secrets"])
    assert '{"name": "codex"}' in answer.json()["detail"]
    assert problem_of(api.post("/v1/runs", RUN | {"prompt": " \n"})) == (422, "invalid_input", ["prompt"])


def test_what_a_text_must_be_is_said_in_words_instead_of_a_pattern(api: Api):
    answer = api.get("/v1/events", params={"after": "soon"})
    assert problem_of(answer) == (422, "validation_failed", ["query.after"])
    assert answer.json()["errors"][0]["message"].startswith("must be `now`, `0`, or a cursor: ")
    run = api.run()["run_id"]
    for path, options, words in [
        ("/v1/runs", {"params": {"cursor": "a b"}}, "must be the `next_cursor` of an answer"),
        ("/v1/runs/nothing", {}, "must be an id, or its first 4 characters or more"),
        (f"/v1/runs/{run}/events/stream", {"headers": {"Last-Event-ID": "x"}}, "must be the id of an event"),
        (f"/v1/runs/{run}/logs", {"params": {"follow": "maybe"}}, "must be true or false"),
        (f"/v1/runs/{run}/events", {"params": {"after": "soon"}}, "must be a whole number"),
    ]:
        [error] = api.get(path, **options).json()["errors"]
        assert error["message"].startswith(words), path


AGES = {"/metrics", "/v1/nodes", "/v1/tasks/{task_id}/attempts"}
"""Paths whose answers say how old something is, so that their lengths differ."""


def test_head_is_there_wherever_get_is(api: Api, database: Database):
    worker = Worker(database)
    made = api.run()
    claimed = worker.claim(made["execution_id"])
    worker.log(claimed, [("stdout", b"0123456789")])
    paths = api.get("/openapi.json").json()["paths"]
    ids: dict[str, str] = defaultdict(lambda: made["execution_id"], {"name": "A", "node_id": "n1"})
    ids |= {name: value for name, value in made.items() if name.endswith("_id")}
    tried = 0
    for path in [path for path, each in paths.items() if "get" in each]:
        url = path.format_map(ids)
        if path.endswith("/stream"):
            answer = api.client.head(url, headers=api.as_("admin"))
            assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
            continue
        tried += 1
        head, got = (api.client.request(method, url, headers=api.as_("admin")) for method in ("HEAD", "GET"))
        assert (head.status_code, head.content) == (got.status_code, b""), url
        if "content-length" in got.headers:
            assert head.headers["content-length"] == got.headers["content-length"] or path in AGES
        assert head.headers["content-type"] == got.headers["content-type"]
    assert tried > 20
    logs = f"/v1/executions/{made['execution_id']}/logs"
    head = api.client.head(logs, headers=api.as_("ann") | {"Range": "bytes=2-3"})
    assert (head.status_code, head.headers["content-length"]) == (200, "10")
    assert api.client.head(logs).status_code == 401
    followed = api.client.head(logs, params={"follow": "1"}, headers=api.as_("ann"))
    assert (followed.status_code, followed.content) == (200, b"")
    refused = api.client.patch(logs, headers=api.as_("ann"))
    assert refused.headers["allow"] == "GET, HEAD"
    assert api.client.head("/v1/nothing", headers=api.as_("ann")).status_code == 404


def test_links_sizes_usage_and_limits_have_types_in_the_document(api: Api):
    schemas = api.get("/openapi.json").json()["components"]["schemas"]
    found = 0
    for name, schema in schemas.items():
        for field, each in schema.get("properties", {}).items():
            if field not in {"links", "stat", "usage", "limits"}:
                continue
            found += 1
            [kind] = [one for one in each.get("anyOf", [each]) if one.get("type") != "null"]
            assert schemas[kind["$ref"].rpartition("/")[2]]["properties"], f"{name}.{field}"
    assert found > 15


def test_links_of_answers_lead_somewhere(api: Api):
    made = api.run()
    ids = {name.removesuffix("_id"): made[name] for name in made if name.endswith("_id")}
    ids.pop("execution")
    for kind, own in ids.items():
        links = api.get(f"/v1/{kind}s/{own}").json()["links"]
        assert links.pop("self") == f"/v1/{kind}s/{own}"
        for name, url in links.items():
            if url and url.startswith("/v1") and "stream" not in name:
                answer = api.client.options(url, headers=api.as_("ann"))
                assert answer.status_code in {200, 405}, url
