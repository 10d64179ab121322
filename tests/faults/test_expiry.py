"""kill -9 of the worker between keeping the work of an idle workspace and its deletion: nothing is lost, or half gone.

The boundary is held open by a lock of the test's.
"""

from pathlib import Path

import pytest
from sqlalchemy import text

from tests.support.fault_stack import Stack
from tests.support.relay import git

pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]


def test_a_worker_dies_between_the_keeping_of_work_and_its_deletion(stack: Stack) -> None:
    relay = stack.relay
    run = relay.submit(stack.repo, "echo mine >mine.txt")
    relay.wait_chain(run)
    workspace = run["workspace_id"]
    with relay.database.connect() as connection:
        found = connection.execute(text("SELECT container_ref FROM workspaces WHERE id = :id"), {"id": workspace})
        directory = Path(found.scalar_one())
    [place] = (directory / "repos").iterdir()
    (place / "draft.txt").write_text("not committed\n")
    [store] = (directory.parents[1] / "stores" / workspace).iterdir()

    with relay.database.connect() as holding, holding.begin():
        holding.execute(text("SELECT 1 FROM lanes WHERE workspace_id = :id FOR UPDATE"), {"id": workspace})
        with relay.database.begin() as connection:
            for change in (
                "UPDATE workspaces SET archived = true, updated_at = now() - interval '9 hours' WHERE id = :id",
                "UPDATE execution_processes SET completed_at = now() - interval '9 hours' WHERE workspace_id = :id",
                "UPDATE projects SET idle_delete_hours = 1 WHERE id = (SELECT t.project_id FROM tasks t "
                "JOIN workspaces w ON w.task_id = t.id WHERE w.id = :id)",
            ):
                connection.execute(text(change), {"id": workspace})
        pinned = f"refs/relay/{workspace}"
        relay.until(lambda: pinned in git("for-each-ref", cwd=store), seconds=90, what="the work is in the store")
        relay.kill_9("worker")
    assert relay.get(f"/v1/workspaces/{workspace}")["archived"]
    assert (place / "draft.txt").is_file()
    relay.start("worker")
    relay.until(lambda: not directory.exists(), seconds=120, what="the workspace is removed")
    patch = relay.http.get(f"/v1/workspaces/{workspace}/kept", params={"format": "patch"})
    assert "+not committed" in patch.text
    told = [one["kind"] for one in relay.get(f"/v1/workspaces/{workspace}/events")["items"]]
    for kind in ("workspace.work_kept", "workspace.expired", "workspace.deleted", "workspace.removed"):
        assert told.count(kind) == 1, kind
