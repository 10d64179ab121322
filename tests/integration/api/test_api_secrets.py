"""Secrets over HTTP: whose they are, what is accepted, and that a value comes back nowhere."""

import base64
from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, text

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import RunReason
from relay_core.secret_box import SecretBox, SecretName
from relay_core.store.projects import secrets as stored_secrets
from relay_core.store.schema.tables import GivenSecret, ProjectSecret, Workspace
from relay_core.store.transaction import Database
from relay_core.store.workspaces import workspace_row
from relay_workers.execution.secret_values import grant, to_mask
from tests.support.api_fixtures import RUN, Api, api_in_process, problem_of, settings_for

KEY = base64.urlsafe_b64encode(bytes(range(32))).decode()
OTHER_KEY = base64.urlsafe_b64encode(bytes(range(1, 33))).decode()
VALUE = "open-sesame-äöü"
URL = RUN["repos"][0]["url"]


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url, secret_keys=KEY)) as api:
        yield api


def put(api: Api, path: str, value: str = VALUE, who: str = "ann"):
    return api.client.put(path, json={"value": value}, headers=api.as_(who))


def project(api: Api, who: str = "ann", **body) -> str:
    answer = api.post("/v1/projects", {"name": f"shop {uuid4()}", **body}, who)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def with_secret(api: Api, *names: str) -> str:
    made = project(api)
    for name in names or ("TOKEN",):
        assert put(api, f"/v1/projects/{made}/secrets/{name}").status_code == 204
    return made


def row_of(api: Api, run: dict) -> workspace_row.WorkspaceRow:
    with api.database.connect() as connection:
        return workspace_row.load(connection, UUID(run["workspace_id"]))


def test_a_secret_is_stored_encrypted_listed_by_name_replaced_and_deleted(api: Api):
    base = f"/v1/projects/{with_secret(api, 'TOKEN', 'ANOTHER')}/secrets"
    listed = api.get(base, "reader")
    assert [one["name"] for one in listed.json()["items"]] == ["ANOTHER", "TOKEN"]
    assert VALUE not in listed.text
    before = listed.json()["items"][1]
    assert put(api, f"{base}/TOKEN", "another value").status_code == 204
    after = api.get(base).json()["items"][1]
    assert (after["created_at"], after["created_by"]) == (before["created_at"], "ann")
    assert after["updated_at"] > before["updated_at"]
    with api.database.connect() as connection:
        kept = connection.execute(select(ProjectSecret).order_by(ProjectSecret.name)).mappings().all()
    opened = [SecretBox([KEY]).open(SecretName(row["project_id"], row["name"]), row["ciphertext"]) for row in kept]
    assert opened == [VALUE, "another value"]
    assert not any(value.encode() in row["ciphertext"] for value, row in zip(opened, kept, strict=True))
    assert api.delete(f"{base}/TOKEN").status_code == 204
    assert problem_of(api.delete(f"{base}/TOKEN"))[:2] == (404, "not_found")
    assert [one["name"] for one in api.get(base).json()["items"]] == ["ANOTHER"]


def test_secrets_are_those_of_the_projects_owner(api: Api):
    base = f"/v1/projects/{with_secret(api)}/secrets"
    assert api.get(base, "bob").status_code == 404
    assert put(api, f"{base}/TOKEN", who="bob").status_code == 404
    assert api.delete(f"{base}/TOKEN", "bob").status_code == 404
    assert problem_of(put(api, f"{base}/TOKEN", who="reader"))[:2] == (403, "scope_missing")
    assert api.get(base, "admin").status_code == 200
    assert api.get(f"/v1/projects/{uuid4()}/secrets").status_code == 404


@pytest.mark.parametrize("name", ["1A", "A-B", "A" * 256, "ä", "A%20", "A%0a"])
def test_a_wrong_name_is_refused(api: Api, name: str):
    assert problem_of(put(api, f"/v1/projects/{project(api)}/secrets/{name}"))[:2] == (422, "validation_failed")


@pytest.mark.parametrize("value", ["", "sesame\0", "sesame" * 20_000, "ä" * 40_000, 12345678, ["sesame"], None])
def test_a_wrong_value_is_refused_and_not_repeated(api: Api, value):
    answer = put(api, f"/v1/projects/{project(api)}/secrets/TOKEN", value)
    status, _, fields = problem_of(answer)
    assert (status, fields) == (422, ["value"])
    assert not any(word in answer.text for word in ("sesame", "ääää", "12345678"))


def test_the_largest_value_and_name_are_taken(api: Api):
    base = f"/v1/projects/{project(api)}/secrets"
    assert put(api, f"{base}/{'A' * 255}", "ä" * 32768).status_code == 204


def test_a_deleted_project_keeps_no_secret(api: Api):
    made = with_secret(api)
    assert api.delete(f"/v1/projects/{made}").status_code == 202
    with api.database.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(ProjectSecret)) == 0


def test_a_run_names_secrets_as_a_list_or_by_variable(api: Api):
    made = with_secret(api, "TOKEN", "OTHER")
    as_list = row_of(api, api.run(project_id=made, secrets=["TOKEN"]))
    assert [(one.env_name, one.secret_name) for one in as_list.used_secrets] == [("TOKEN", "TOKEN")]
    assert as_list.secrets_in == {"coding_agent"}
    wanted = {"A": "TOKEN", "B": "TOKEN", "C": "OTHER"}
    by_variable = row_of(api, api.run(project_id=made, secrets=wanted, secrets_in=["setup_script", "dev_server"]))
    assert {one.env_name: one.secret_name for one in by_variable.used_secrets} == wanted
    assert by_variable.secrets_in == {"setup_script", "dev_server"}


def test_an_unknown_secret_is_named_with_how_to_store_it_and_nothing_is_made(api: Api):
    made = with_secret(api)
    answer = api.post("/v1/runs", RUN | {"project_id": made, "secrets": ["TOKEN", "OTHER"]})
    assert problem_of(answer) == (422, "secret_unknown", ["secrets"])
    assert f"no secret OTHER; store it first: relay secret set OTHER --project {made}" in answer.text
    answer = api.post("/v1/runs", RUN | {"secrets": ["TOKEN"]})
    assert f"relay secret set TOKEN --repo {URL}" in answer.text
    with api.database.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(Workspace)) == 0
    assert [one["id"] for one in api.get("/v1/projects").json()["items"]] == [made]


def test_a_run_without_a_project_gets_those_of_the_repositorys_own(api: Api):
    made = project(api, default_for=URL)
    assert put(api, f"/v1/projects/{made}/secrets/TOKEN").status_code == 204
    run = api.run(secrets=["TOKEN"])
    assert run["project_id"] == made
    found = api.get("/v1/projects", params={"default_for": URL}).json()["items"]
    assert [(one["id"], one["default_for"]) for one in found] == [(made, URL)]
    assert api.get("/v1/projects", params={"default_for": URL + "x"}).json()["items"] == []
    assert api.get("/v1/projects", "bob", params={"default_for": URL}).json()["items"] == []
    again = api.post("/v1/projects", {"name": "again", "default_for": URL})
    assert problem_of(again)[:2] == (409, "default_project_exists")
    assert project(api, "bob", default_for=URL) != made


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"secrets": ["TOKEN"], "env": {"TOKEN": "x"}}, "env_given_twice"),
        ({"secrets": {"X": "TOKEN"}, "env": {"X": "x"}}, "env_given_twice"),
        ({"secrets": ["TO-KEN"]}, "validation_failed"),
        ({"secrets": {"X-Y": "TOKEN"}}, "validation_failed"),
        ({"secrets_in": ["clone"]}, "validation_failed"),
        ({"secrets_in": []}, "validation_failed"),
        ({"env": {f"KEY{n}": "x" * 60_000 for n in range(5)}}, "secrets_too_large"),
    ],
)
def test_what_a_run_may_not_ask_for(api: Api, body: dict, code: str):
    assert problem_of(api.post("/v1/runs", RUN | {"project_id": with_secret(api)} | body))[:2] == (422, code)


def test_without_a_key_secrets_are_refused_and_all_else_works(database: Database, database_url: str, redis_url: str):
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        made = project(api)
        answer = put(api, f"/v1/projects/{made}/secrets/TOKEN")
        assert problem_of(answer)[:2] == (409, "secrets_not_configured")
        assert "RELAY_SECRET_KEYS" in answer.text
        assert problem_of(api.post("/v1/runs", RUN | {"secrets": ["TOKEN"]}))[:2] == (409, "secrets_not_configured")
        assert api.get(f"/v1/projects/{made}/secrets").json() == {"items": []}
        api.run(env={"TOKEN": "x" * 20})


def test_only_the_named_kinds_of_executions_get_it_and_all_mask_it(api: Api):
    row = row_of(api, api.run(project_id=with_secret(api), secrets={"MINE": "TOKEN"}, env={"KEY": "a-secret-of-env"}))
    box = SecretBox([KEY])
    assert grant(box, row, RunReason.CODING_AGENT).env == {"MINE": VALUE}
    for reason in (RunReason.SETUP_SCRIPT, RunReason.CLEANUP_SCRIPT, RunReason.DEV_SERVER, RunReason.ARCHIVE_SCRIPT):
        assert grant(box, row, reason).env == {}
    assert {VALUE.encode(), b"a-secret-of-env"} < set(to_mask(box, row))


def test_what_was_given_is_masked_after_it_was_replaced_and_deleted(api: Api):
    made = with_secret(api)
    run, box = api.run(project_id=made, secrets=["TOKEN"]), SecretBox([KEY])

    def start() -> workspace_row.WorkspaceRow:
        row = row_of(api, run)
        with api.database.begin() as connection:
            stored_secrets.note_given(connection, row.id, grant(box, row, RunReason.CODING_AGENT).given)
        return row_of(api, run)

    start()
    start()
    put(api, f"/v1/projects/{made}/secrets/TOKEN", "the second value")
    both = set(to_mask(box, start()))
    assert {VALUE.encode(), b"the second value"} < both
    put(api, f"/v1/projects/{made}/secrets/TOKEN", "the third value")
    assert api.delete(f"/v1/projects/{made}/secrets/TOKEN").status_code == 204
    row = row_of(api, run)
    assert set(to_mask(box, row)) == both
    with pytest.raises(StepFailed, match=f"relay secret set TOKEN --project {made}") as caught:
        grant(box, row, RunReason.CODING_AGENT)
    assert caught.value.reason == "secret_missing"
    assert grant(box, row, RunReason.SETUP_SCRIPT).env == {}
    with api.database.begin() as connection:
        assert connection.scalar(select(func.count()).select_from(GivenSecret)) == 2
        stored_secrets.forget_given(connection, row.id)
    assert to_mask(box, row_of(api, run)) == ()


@pytest.mark.parametrize("keys", [[OTHER_KEY], []])
def test_a_node_without_the_key_runs_nothing_that_needs_it(api: Api, keys: list[str]):
    made = with_secret(api)
    run, here = api.run(project_id=made, secrets=["TOKEN"]), SecretBox(keys)
    row = row_of(api, run)
    with pytest.raises(StepFailed, match="TOKEN cannot be decrypted on this node") as caught:
        grant(here, row, RunReason.CODING_AGENT)
    assert caught.value.reason == "secret_missing"
    assert grant(here, row, RunReason.SETUP_SCRIPT).env == {}
    assert to_mask(here, row) == ()  # nothing has it that could print it
    with api.database.begin() as connection:
        stored_secrets.note_given(connection, row.id, grant(SecretBox([KEY]), row, RunReason.CODING_AGENT).given)
    with pytest.raises(StepFailed, match="cannot be decrypted"):
        to_mask(here, row_of(api, run))


def test_a_ciphertext_moved_to_another_project_is_not_given(api: Api):
    rich, poor = with_secret(api), with_secret(api)
    with api.database.begin() as connection:
        swap = (
            "UPDATE project_secrets SET ciphertext = (SELECT ciphertext FROM project_secrets WHERE project_id = :rich)"
        )
        connection.execute(text(swap + " WHERE project_id = :poor"), {"rich": rich, "poor": poor})
    row = row_of(api, api.run(project_id=poor, secrets=["TOKEN"]))
    with pytest.raises(StepFailed, match="was not stored as that"):
        grant(SecretBox([KEY]), row, RunReason.CODING_AGENT)
