"""Each field of an entity that the API shows has the value of its column: `scripts/domain.toml` names both."""

import base64
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import BigInteger, Boolean, DateTime, Text, Uuid, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import IntegrityError

from relay_core.store.schema.tables import Base
from relay_core.store.transaction import Database
from tests.support.api_fixtures import Api, Worker, api_in_process, settings_for
from tests.support.pictures import png

ENTITIES = {
    each["name"]: each
    for each in tomllib.loads((Path(__file__).parents[3] / "scripts" / "domain.toml").read_text())["entity"]
    if each.get("table")
}
URL = "https://git.example.org/team/app.git"
KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
FILLINGS = {
    Text: "some text",
    BigInteger: 7,
    Boolean: True,
    DateTime: datetime(2026, 1, 31, 8, 2, 31, tzinfo=UTC),
    Uuid: UUID(int=7),
    ARRAY: ["some", "texts"],
}
"""Values for columns that nothing here has written, by type."""
OTHERWISE = {
    ("Workspace", "container_ref"): "opaque",
    ("Workspace", "limits"): "completed by the limits of this version",
    ("ExecutionProcess", "executor_action"): "without the chain that follows",
    ("TaskImage", "task_id"): "in the list of tasks",
    ("Delegation", "rules"): "with names in place of ids",
    ("Delegation", "expires_at"): "in the past it counts as ended",
    ("Scope of a workspace", "delegable"): "with names in place of ids",
    ("Scope of a workspace", "denied"): "with names in place of ids",
}
"""Fields that are shown in another form than their columns have; other tests have them."""


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url, secret_keys=(KEY,))) as api:
        yield api


def posted(api: Api, path: str, body: Any, status: int) -> dict[str, Any]:
    answer = api.post(path, body)
    assert answer.status_code == status, answer.text
    return dict(answer.json())


@pytest.fixture
def ids(api: Api) -> dict[str, str]:
    """An entity of each kind: the words of their routes, and the ids by which their rows are found."""
    worker = Worker(api.database)
    first = {"title": "First", "executor": {"name": "shell", "command": "cat"}}
    body = {"name": "shop", "repos": [{"url": URL, "setup_script": "make"}], "first_workspace": first}
    project = posted(api, "/v1/projects", body, 202)
    data = base64.b64encode(png()).decode()
    image = posted(api, "/v1/images", {"name": "a.png", "data": data}, 201)
    start = {"executor": {"name": "shell", "command": "cat"}, "repos": [{"repo": "app", "target_branch": "main"}]}
    body = {"project_id": "shop", "title": "Mend it", "description": "Soon"}
    run = posted(api, "/v1/tasks", body | {"start": start | {"image_ids": [image["id"]]}}, 202)["started"]
    where = f"/v1/workspaces/{run['workspace_id']}"
    worker.ready(run["workspace_id"])
    repo_id = api.get(where).json()["repos"][0]["repo_id"]
    for _ in range(3):
        execution_id = UUID(api.get(f"{where}/executions").json()["items"][-1]["id"])
        claimed = worker.claim(execution_id)
        worker.log(claimed, [("stdout", b"hello\n")])
        states = {UUID(repo_id): {"after_head_commit": "a" * 40, "branch": "b"}}
        worker.finish(claimed, repo_states=states, log_ends=worker.log_ends(claimed))
    merge = posted(api, f"{where}/merge", {"message": "Mend it"}, 202)
    tag = posted(api, "/v1/tags", {"tag_name": "careful", "content": "Be careful"}, 201)
    scratch = {"scratch_type": "draft_task", "scratch_id": str(uuid4())}
    note = {"payload": {"type": "draft_task", "text": "later"}}
    path = f"/v1/scratch/draft_task/{scratch['scratch_id']}"
    assert api.client.put(path, json=note, headers=api.as_("ann")).status_code == 200
    scope = {"delegable": [{"path": ""}], "denied": []}
    assert api.client.put(f"{where}/scope", json=scope, headers=api.as_("ann")).status_code == 200
    child = posted(api, "/v1/tasks", {"project_id": "shop", "title": "Part", "start": start}, 202)["started"]
    lease = {"parent_workspace_id": run["workspace_id"], "child_workspace_id": child["workspace_id"], "name": "part"}
    delegation = posted(api, "/v1/delegations", lease | {"rules": [{"path": "src"}]}, 201)
    file = posted(api, "/v1/projects/shop/files", {"path": ".env", "content": "QQ=="}, 201)
    target = {"target_id": str(uuid4()), "target_url": "https://relay.example.org"}
    assert posted(api, "/v1/migrations", target, 200)
    migration = api.get("/v1/migrations").json()["items"][0]
    pr = "kind = 'pr', pr_number = 7, pr_url = 'u', pr_status = 'open', pr_checked_at = now(), pr_problem = 'p'"
    with api.database.begin() as connection:
        connection.execute(text(f"UPDATE merges SET {pr}"))
    return {
        **{name: run[name] for name in ("task_id", "workspace_id", "session_id")},
        **scratch,
        "project_id": project["id"],
        "repo_id": repo_id,
        "execution_id": str(execution_id),
        "image_id": image["id"],
        "merge_id": merge["id"],
        "tag": tag["id"],
        "delegation_id": delegation["id"],
        "file_id": file["id"],
        "migration_id": migration["id"],
    }


WORDS = {
    "Project": ("project_id", "id"),
    "ProjectFile": ("file_id", "id"),
    "ProjectRepo": ("project_id", "project_id"),
    "Repo": ("repo_id", "id"),
    "Task": ("task_id", "id"),
    "TaskImage": ("image_id", "image_id"),
    "Workspace": ("workspace_id", "id"),
    "WorkspaceRepo": ("workspace_id", "workspace_id"),
    "Session": ("session_id", "id"),
    "ExecutionProcess": ("execution_id", "id"),
    "ExecutionProcessRepoState": ("execution_id", "execution_process_id"),
    "ExecutionProcessLogs": ("execution_id", "execution_id"),
    "CodingAgentTurn": ("execution_id", "execution_process_id"),
    "Merge": ("merge_id", "id"),
    "Image": ("image_id", "id"),
    "Tag": ("tag", "id"),
    "Scratch": ("scratch_id", "id"),
    "Delegation": ("delegation_id", "id"),
    "MigrationState": ("migration_id", "id"),
    "Scope of a workspace": ("workspace_id", "workspace_id"),
}
"""For each entity the word of its id in `ids`, and the column that has this id."""


def test_each_field_has_the_value_of_its_column(api: Api, ids: dict[str, str]):
    compared, empty = 0, set()
    for name, (word, key) in WORDS.items():
        entity = ENTITIES[name]
        table = Base.metadata.tables[entity["table"]]
        shown = entity.get("shown", {})
        columns = [
            column
            for column in table.columns
            if column.name not in entity.get("hidden", {}) and (name, column.name) not in OTHERWISE
        ]
        of_it = table.c[key] == (ids[word] if isinstance(table.c[key].type, Text) else UUID(ids[word]))
        if name == "ExecutionProcessLogs":
            of_it &= table.c.stream == "stdout"
        fill(api, table, columns, of_it)
        with api.database.connect() as connection:
            row = connection.execute(select(table).where(of_it)).mappings().one()
        answer = api.get(entity["read"].removeprefix("GET ").format(**ids))
        assert answer.status_code == 200, answer.text
        for column in columns:
            path = ".".join(part for part in (entity.get("at"), shown.get(column.name, column.name)) if part)
            assert plain(at(answer.json(), path)) == plain(row[column.name]), f"{name}.{column.name}"
            compared += 1
            if row[column.name] is None:
                empty.add(f"{name}.{column.name}")
    assert len(empty) < compared / 10, f"of these nothing was compared: {empty}"


def fill(api: Api, table: Any, columns: list[Any], of_it: Any) -> None:
    """Give a value to each column that has none, where the rules of the database let it."""
    with api.database.begin() as connection:
        row = connection.execute(select(table).where(of_it)).mappings().one()
        for column in columns:
            value = next((each for kind, each in FILLINGS.items() if isinstance(column.type, kind)), None)
            if row[column.name] is None and value is not None and not column.foreign_keys:
                try:
                    with connection.begin_nested():
                        connection.execute(update(table).where(of_it).values({column.name: value}))
                except IntegrityError:
                    continue


def at(found: Any, path: str) -> Any:
    for part in path.split("."):
        found = found[part.removesuffix("[]")]
        found = found[0] if part.endswith("[]") else found
    return found


def plain(value: Any) -> Any:
    """A value in one form, whether it comes from JSON or from the database."""
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat()
        case UUID():
            return str(value)
        case str() if len(value) > 18 and value[10] == "T" and value[4] == "-":
            return datetime.fromisoformat(value).astimezone(UTC).isoformat()
        case _:
            return value
