"""Session profiles over HTTP: the list, and the level of the image chain between request and project."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, update

from relay_core.domain.errors import InvalidInput
from relay_core.profile_file import load_session_profiles
from relay_core.store.schema.tables import Project, Workspace
from relay_core.store.transaction import Database
from tests.support.api_fixtures import RUN, Api, api_in_process, problem_of, settings_for

FILE = """
[review]
description = "Reads"
image = "from-profile"
executor = { name = "claude-code", variant = "plan" }

[plain]
shell = "bash"
"""


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Api]:
    file = tmp_path / "sessions.toml"
    file.write_text(FILE)
    more = {"session_profiles_file": file, "default_image": "from-server"}
    with api_in_process(database, settings_for(database_url, redis_url, **more)) as api:
        yield api


def workspace(api: Api, **body: Any) -> dict[str, Any]:
    wanted = {key: value for key, value in (RUN | body).items() if value is not None}
    answer = api.post("/v1/runs", wanted)
    assert answer.status_code == 202, answer.text
    return api.get(f"/v1/workspaces/{answer.json()['workspace_id']}").json()


@pytest.mark.proves("T000-08")
def test_the_image_is_that_of_request_then_profile_then_project_then_server(api: Api):
    project = api.post("/v1/projects", {"name": "p", "default_image": "from-project"}).json()["id"]
    asked = workspace(api, project_id=project, profile="review", image="from-request")
    assert (asked["image"], asked["sources"]["image"]) == ("from-request", "request")
    of_profile = workspace(api, project_id=project, profile="review")
    assert (of_profile["image"], of_profile["sources"]["image"]) == ("from-profile", "profile")
    of_project = workspace(api, project_id=project, profile="plain")
    assert (of_project["image"], of_project["sources"]["image"]) == ("from-project", "project")
    of_server = workspace(api, profile="plain")
    assert (of_server["image"], of_server["sources"]["image"]) == ("from-server", "default")


def test_a_profile_gives_the_executor_where_the_request_does_not(api: Api):
    made = workspace(api, profile="review", executor=None)
    [session] = api.get(f"/v1/workspaces/{made['id']}/sessions").json()["items"]
    assert (session["executor"], session["profile"], made["sources"]["executor"]) == (
        "claude-code",
        "review",
        "profile",
    )
    own = workspace(api, profile="review")
    [session] = api.get(f"/v1/workspaces/{own['id']}/sessions").json()["items"]
    assert (session["executor"], session["profile"], own["sources"]["executor"]) == ("shell", "review", "request")


def test_a_rerun_keeps_the_profile(api: Api):
    first = api.run(profile="review")
    api.post(f"/v1/runs/{first['run_id']}/cancel")
    again = api.post(f"/v1/runs/{first['run_id']}/rerun").json()
    [session] = api.get(f"/v1/workspaces/{again['workspace_id']}/sessions").json()["items"]
    assert session["profile"] == "review"
    assert api.get(f"/v1/workspaces/{again['workspace_id']}").json()["sources"]["image"] == "profile"


def test_a_workspace_on_a_project_takes_the_image_of_a_profile(api: Api):
    url = RUN["repos"][0]["url"]
    project = api.post("/v1/projects", {"name": "shop", "repos": [{"url": url}]}).json()
    with api.database.begin() as connection:
        connection.execute(update(Project).where(Project.id == UUID(project["id"])).values(state="ready"))
    for body, image, source in (({}, "from-profile", "profile"), ({"image": "mine"}, "mine", "request")):
        made = api.post("/v1/workspaces", {"project_id": "shop", "profile": "review", **body})
        assert (made.json()["image"], made.json()["sources"]["image"]) == (image, source)


def test_the_profiles_are_listed_and_an_unknown_one_is_refused(api: Api):
    listed = api.get("/v1/profiles", "reader").json()["items"]
    assert [(each["name"], each["image"], each["shell"]) for each in listed] == [
        ("review", "from-profile", None),
        ("plain", None, "bash"),
    ]
    assert api.get("/v1/profiles/review").json() == listed[0]
    assert [(each["description"], each["columns"], each["rows"]) for each in listed] == [
        ("Reads", 80, 24),
        ("", 80, 24),
    ]
    assert listed[1]["executor"] is None
    assert problem_of(api.get("/v1/profiles/other"))[:2] == (404, "not_found")
    assert problem_of(api.post("/v1/runs", RUN | {"profile": "other"})) == (422, "profile_unknown", ["profile"])
    with api.database.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(Workspace)) == 0


@pytest.mark.proves("T000-09")
def test_the_list_of_images_applies_to_the_image_of_a_profile(
    database: Database, database_url: str, redis_url: str, tmp_path: Path
):
    file = tmp_path / "sessions.toml"
    file.write_text(FILE)
    more = {"session_profiles_file": file, "allowed_images": ("relay-*",), "default_image": "relay-base"}
    with api_in_process(database, settings_for(database_url, redis_url, **more)) as api:
        assert problem_of(api.post("/v1/runs", RUN | {"profile": "review"})) == (422, "image_not_allowed", ["image"])
        with api.database.connect() as connection:
            assert connection.scalar(select(func.count()).select_from(Workspace)) == 0


def test_a_wrong_file_is_named_with_the_place(database_url: str, redis_url: str, tmp_path: Path):
    file = tmp_path / "sessions.toml"
    file.write_text("[a]\nimage = 1\n")
    with pytest.raises(InvalidInput, match=rf"RELAY_SESSION_PROFILES_FILE {file}: a\.image cannot be 1"):
        load_session_profiles(settings_for(database_url, redis_url, session_profiles_file=file))
