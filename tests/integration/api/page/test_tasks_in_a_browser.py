"""Tasks on the page: attempts, merges, pull requests, leases and clones that are not as they were left, in a Chromium."""

import os
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import zstandard
from playwright.sync_api import Browser, expect
from sqlalchemy import text

from relay_core.domain import execution as machine
from relay_core.domain.vocabulary import Reason
from tests.support.api_fixtures import Api, Worker
from tests.support.browser_fixtures import ATTACK, NARROW, WIDE, open_page, scrolls_sideways, sign_in

PROJECT = {"name": "shop", "repos": [{"url": "https://git.example.org/team/app.git"}]}
START = {"executor": {"name": "shell", "command": "cat"}, "repos": [{"repo": "app", "target_branch": "main"}]}
SHOTS = os.environ.get("RELAY_TEST_SCREENSHOTS")
"""Folder for pictures of the page; unset: none are made."""


@pytest.fixture
def worked(api: Api, worker: Worker) -> dict[str, Any]:
    """A task with a lease to its subtask, a failed merge, an open pull request, and a clone with a stranger's commit."""
    api.post("/v1/projects", PROJECT)
    body = {"project_id": "shop", "title": f"Mend {ATTACK[:200]}", "description": f"Soon {ATTACK}", "start": START}
    run = api.post("/v1/tasks", body).json()["started"]
    worker.ready(run["workspace_id"])
    where = f"/v1/workspaces/{run['workspace_id']}"
    repo_id = UUID(api.get(where).json()["repos"][0]["repo_id"])
    for _ in range(2):
        due = api.get(f"{where}/executions").json()["items"][-1]
        stat = {"files": 1, "insertions": 2, "deletions": 1, "truncated": False, "masked": []}
        state = {"after_head_commit": "a" * 40, "branch": "b", "dirty": False, "stat": stat}
        state["patch"] = zstandard.compress(b"diff --git a/a b/a\n")
        worker.finish(worker.claim(due["id"]), repo_states={repo_id: state})
    merge = api.post(f"{where}/merge", {"message": "Mend it"}).json()
    worker.finish(worker.claim(merge["execution_id"]), machine.failed(Reason.MERGE_FAILED, f"refused {ATTACK}"))
    assert (
        api.client.put(f"{where}/scope", json={"delegable": [{"path": ""}]}, headers=api.as_("ann")).status_code == 200
    )
    part = {"project_id": "shop", "title": "A part", "parent_workspace_id": run["workspace_id"]}
    part["start"] = START | {"from_workspace": None}
    child = api.post("/v1/tasks", part).json()["started"]
    lease = {"parent_workspace_id": run["workspace_id"], "child_workspace_id": child["workspace_id"]}
    assert api.post("/v1/delegations", lease | {"name": "part", "rules": [{"path": "src"}]}).status_code == 201
    pull = api.post(f"{where}/merge", {"message": "Mend it again"}).json()
    worker.finish(worker.claim(pull["execution_id"]))
    with api.database.begin() as connection:
        pr = "kind = 'pr', pr_number = 7, pr_status = 'open', pr_problem = 'the token is wrong or expired'"
        url = "pr_url = 'https://forge.example/team/app/pull/7'"
        connection.execute(text(f"UPDATE merges SET {pr}, {url} WHERE id = :id"), {"id": pull["id"]})
        connection.execute(
            text(
                "UPDATE workspace_repos SET found_state = 'diverged', found_commit = :found, found_from = :left, "
                "found_at = now() WHERE workspace_id = :id"
            ),
            {"found": "d" * 40, "left": "a" * 40, "id": run["workspace_id"]},
        )
        connection.execute(
            text("UPDATE workspaces SET diverged_at = now() WHERE id = :id"), {"id": run["workspace_id"]}
        )
    return run


def test_a_task_shows_what_a_person_has_to_know_of_it(api: Api, worked: dict[str, Any], browser: Browser):
    page = open_page(browser, f"http://localhost:{api.client.base_url.port}")
    sign_in(page, api.tokens["ann"])
    for viewport in (WIDE, NARROW):
        page.set_viewport_size(viewport)
        page.goto("/tasks")
        expect(page.locator(".runs li")).to_have_count(2)
        assert not scrolls_sideways(page)
        _shot(page, f"tasks-{viewport['width']}")
        page.goto("/tasks?status=todo")
        page.goto(f"/tasks/{worked['workspace_id']}")
        assert page.url.endswith(f"/tasks/{worked['task_id']}"), "a workspace leads to its task"
        row = page.get_by_label("Attempts").locator("tbody tr")
        expect(row).to_have_count(1)
        expect(row).to_contain_text("vk-")
        expect(row).to_contain_text("+2")
        merges = page.get_by_label("Merges")
        expect(merges.locator("li")).to_have_count(2)
        expect(merges.get_by_role("link", name="pull request #7")).to_have_attribute(
            "href", "https://forge.example/team/app/pull/7"
        )
        expect(merges).to_contain_text("the token is wrong or expired")
        expect(merges).to_contain_text("refused <script>")
        expect(page.get_by_label("Delegations")).to_contain_text("part: app/src")
        expect(page.get_by_label("Subtasks")).to_contain_text("A part")
        trouble = page.locator(".flash.bad")
        expect(trouble).to_contain_text("app is not as an execution left it")
        expect(trouble).to_contain_text("It was left at aaaaaaaa and is at dddddddd")
        assert not scrolls_sideways(page)
        assert page.evaluate("window.owned") is None
        _shot(page, f"task-{viewport['width']}")
    page.set_viewport_size(WIDE)
    page.get_by_label("Subtasks").get_by_role("link").click()
    expect(page.get_by_label("Delegations")).to_contain_text("got from")
    page.goto(f"/runs/{worked['run_id']}")
    expect(page.locator(".flash.bad")).to_contain_text("app is not as an execution left it")
    _shot(page, "run-1280")
    page.locator(".facts").get_by_role("link", name=worked["task_id"]).click()
    expect(page.get_by_label("Attempts")).to_be_visible()
    page.context.close()


def test_tasks_of_others_are_not_shown(api: Api, worked: dict[str, Any], browser: Browser):
    page = open_page(browser, f"http://localhost:{api.client.base_url.port}")
    sign_in(page, api.tokens["bob"])
    page.goto("/tasks")
    expect(page.locator(".empty")).to_contain_text("No tasks yet")
    page.goto(f"/tasks/{worked['task_id']}")
    expect(page.locator("main")).to_contain_text("there is no")
    page.context.close()


def _shot(page: Any, name: str) -> None:
    if SHOTS:
        page.screenshot(path=Path(SHOTS, f"{name}.png"), full_page=True)
