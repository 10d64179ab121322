"""A conversation lives in the workspace's home, not in its container."""

import pytest

from tests.support.machine import engine
from tests.support.matrix_desk import Desk, history

pytestmark = pytest.mark.docker


def test_a_conversation_survives_its_container(desk: Desk):
    if not desk.agent.resumes:
        pytest.skip("it has no conversations")
    run, first = desk.turn(f"Remember this {desk.agent.hear}")
    where = f"/v1/workspaces/{run['workspace_id']}"
    before = desk.relay.container(run)
    before.remove(force=True)
    desk.relay.until(lambda: desk.relay.get(where)["state"] == "failed", what="somebody notices")
    again = desk.relay.http.post(f"{where}/retry")
    assert again.status_code == 202, again.text
    assert desk.ended(again.json()["id"])["status"] == "completed"
    assert engine().containers.get(before.name).id != before.id
    second = desk.ended(desk.follow_up(run, f"And now? {desk.agent.hear}")["id"])
    assert (second["status"], second["reason"]) == ("completed", None), second["error_reason"]
    assert second["turn"]["summary"] != first["turn"]["summary"]
    assert history(second) == history(first) + 1
