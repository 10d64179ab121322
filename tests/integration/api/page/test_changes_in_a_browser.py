"""The changes of a run in a headless Chromium."""

import re

import zstandard
from playwright.sync_api import Browser, expect
from sqlalchemy import text

from tests.support.api_fixtures import Api, Worker
from tests.support.browser_fixtures import NARROW, WIDE, open_page, scrolls_sideways, sign_in

PATCH = "diff --git a/{name} b/{name}\n--- a/{name}\n+++ b/{name}\n@@ -1 +1,2 @@\n one\n+two\n"


def test_the_changes_of_a_follow_up_are_its_own_and_those_of_its_workspace_are_a_click_away(
    api: Api, worker: Worker, browser: Browser
):
    run = api.run(repos=[{"url": "https://git.example.org/team/app.git", "target_branch": "main"}])
    worker.finish(worker.claim(run["execution_id"]))
    worker.ready(run["workspace_id"])
    api.post(f"/v1/runs/{run['run_id']}/cancel")
    body = {"run_reason": "cleanup_script", "script": "x", "title": "Tidy"}
    step = api.post(f"/v1/workspaces/{run['workspace_id']}/executions", body).json()
    with api.database.connect() as connection:
        repo = connection.execute(text("SELECT repo_id FROM workspace_repos")).scalar_one()
    page = open_page(browser, f"http://localhost:{api.client.base_url.port}")
    sign_in(page, api.tokens["ann"])
    page.goto(f"/runs/{step['run_id']}/changes")
    expect(page.locator(".empty")).to_have_text("No state is recorded yet.")
    names = {"whole.txt": 3, "of_the_step.txt": 1}
    whole, own = (PATCH.format(name=name).encode() for name in names)
    counts = {"files": 1, "insertions": 1, "deletions": 0, "truncated": False, "masked": []}
    state = {
        "before_head_commit": "b" * 40,
        "after_head_commit": "c" * 40,
        "patch": zstandard.compress(whole),
        "step_patch": zstandard.compress(own),
        "stat": {**counts, "files": 3, "step": counts, "run": {**counts, "base": "b" * 40}},
    }
    worker.finish(worker.claim(step["id"]), repo_states={repo: state})
    for viewport in (WIDE, NARROW):
        page.set_viewport_size(viewport)
        page.goto(f"/runs/{step['run_id']}/changes")
        expect(page.locator(".file summary")).to_contain_text("of_the_step.txt")
        page.get_by_role("link", name="Of its workspace so far").click()
        expect(page.locator(".file summary")).to_contain_text("whole.txt")
        expect(page.get_by_role("link", name="Patch")).to_have_attribute("href", re.compile("whole=1"))
        assert not scrolls_sideways(page)
    page.goto(f"/runs/{step['run_id']}")
    expect(page.locator(".facts")).to_contain_text("from its branch at bbbbbbbb, begun at main")
    page.context.close()
