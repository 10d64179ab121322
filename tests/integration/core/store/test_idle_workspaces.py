"""Workspaces in which nothing happens are stopped, and started again by the next step, on a real Postgres."""

from collections.abc import Iterator
from uuid import UUID

import pytest
from sqlalchemy import text

from relay_core.domain import execution as machine
from relay_core.domain.expiry import Hours
from relay_core.domain.vocabulary import Reason
from relay_core.store.transaction import Database
from relay_core.store.workspaces import expiry
from relay_workers.maintenance import idle_workspaces
from relay_workers.metrics import Metrics
from tests.support.api_fixtures import Api, Worker, api_in_process, problem_of, settings_for
from tests.support.workspace_acts import ask, newest, node_acts, retried, started, steps, workspace

HOURS = Hours(stop=24)


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url, workspace_idle_stop_hours=24)) as api:
        yield api


@pytest.fixture
def worker(database: Database) -> Worker:
    return Worker(database)


def quiet(api: Api, worker: Worker, days: float = 2, **scripts) -> dict:
    """A workspace whose run ended days ago."""
    made = started(api, worker, dev_server_script="serve", **scripts)
    worker.finish(worker.claim(newest(api, made, "coding_agent")["id"]))
    later(api, days)
    return made


def later(api: Api, days: float) -> None:
    ago = f"interval '{days} days'"
    with api.database.begin() as connection:
        connection.execute(text(f"UPDATE workspaces SET updated_at = updated_at - {ago}"))
        connection.execute(text(f"UPDATE execution_processes SET completed_at = completed_at - {ago}"))


def sweep(api: Api, **settings) -> None:
    with api.database.begin() as connection:
        connection.execute(text("DELETE FROM sweep_turns"))
    idle_workspaces.sweep(api.database, api.settings.model_copy(update=settings), Metrics())


def stopped(api: Api, made: dict) -> bool:
    sweep(api)
    node_acts(api)
    return workspace(api, made)["state"] == "stopped"


def step(api: Api, made: dict):
    return api.post(f"/v1/workspaces/{made['workspace_id']}/executions", {"run_reason": "setup_script", "script": "x"})


def test_an_idle_workspace_is_stopped_and_the_event_says_by_whom(api: Api, worker: Worker) -> None:
    made = quiet(api, worker)
    assert stopped(api, made)
    events = api.get(f"/v1/workspaces/{made['workspace_id']}/events").json()["items"]
    [told] = [event["payload"] for event in events if event["kind"] == "workspace.state_requested"]
    assert told == {"state": "stopped", "by": "relay: it was idle"}
    assert workspace(api, made)["stop_reason"] == "idle"


def test_what_is_pinned_at_work_or_used_lately_goes_on(api: Api, worker: Worker) -> None:
    pinned, recent, serving = quiet(api, worker), quiet(api, worker, 0.5), quiet(api, worker)
    workspace(api, pinned, pinned=True)
    worker.claim(api.post(f"/v1/workspaces/{serving['workspace_id']}/dev-server").json()["id"])
    later(api, 0)
    with api.database.begin() as connection:
        connection.execute(text("UPDATE workspaces SET updated_at = now() - interval '2 days'"))
        ended = text(
            "UPDATE execution_processes SET completed_at = now() WHERE workspace_id = :id AND status = 'completed'"
        )
        connection.execute(ended, {"id": UUID(recent["workspace_id"])})
    sweep(api)
    assert node_acts(api) == []
    assert [workspace(api, made)["state"] for made in (pinned, recent, serving)] == ["running"] * 3


def test_one_that_gets_work_meanwhile_is_not_stopped(api: Api, worker: Worker) -> None:
    made = quiet(api, worker)
    with api.database.begin() as connection:
        [found] = expiry.due(connection, HOURS)
    assert step(api, made).status_code == 202
    with api.database.begin() as connection:
        assert not expiry.carry_out(connection, found, HOURS)


@pytest.mark.parametrize("carried_out", [True, False])
def test_the_next_step_starts_an_idle_workspace_again(api: Api, worker: Worker, carried_out: bool) -> None:
    made = quiet(api, worker)
    sweep(api)
    if carried_out:
        node_acts(api)
    made_step = step(api, made)
    assert made_step.status_code == 202
    assert workspace(api, made)["requested_state"] == "running"
    assert [str(one) for one in node_acts(api)] == [made_step.json()["id"]]
    assert workspace(api, made)["state"] == "running"
    assert worker.claim(made_step.json()["id"])


def test_a_dev_server_and_a_retry_start_it_too(api: Api, worker: Worker) -> None:
    made = started(api, worker, dev_server_script="serve")
    agent = newest(api, made, "coding_agent")
    failed = machine.failed(Reason.EXIT_CODE, "it failed", exit_code=1)
    worker.finish(worker.claim(agent["id"]), failed)
    for ask_again in (
        lambda: api.post(f"/v1/workspaces/{made['workspace_id']}/dev-server"),
        lambda: retried(api, agent, run_agent_again=True),
    ):
        later(api, 2)
        assert stopped(api, made)
        answer = ask_again()
        assert answer.status_code == 202
        assert [str(one) for one in node_acts(api)] == [answer.json()["id"]]
        worker.finish(worker.claim(answer.json()["id"]))


@pytest.mark.parametrize("carried_out", [True, False])
def test_to_archive_an_idle_workspace_starts_it_for_its_archive_scripts(
    api: Api, worker: Worker, carried_out: bool
) -> None:
    made = quiet(api, worker, archive_script="pack")
    sweep(api)
    if carried_out:
        node_acts(api)
    assert archived(api, made).status_code == 200
    [script] = [one for one in steps(api, made) if one["run_reason"] == "archive_script"]
    assert [str(one) for one in node_acts(api)] == [script["id"]]
    worker.finish(worker.claim(script["id"]))
    later(api, 2)
    assert stopped(api, made)
    again = pack(api, made)
    assert again.status_code == 202, "one more script starts the archived workspace again"
    assert [str(one) for one in node_acts(api)] == [again.json()["id"]]


def test_an_archive_script_that_could_never_start_is_refused(api: Api, worker: Worker) -> None:
    made = quiet(api, worker, archive_script="pack")
    ask(api, made, "stop")
    node_acts(api)
    assert archived(api, made).status_code == 200
    assert [one["run_reason"] for one in steps(api, made)] == ["clone", "coding_agent"]
    assert problem_of(pack(api, made))[:2] == (409, "workspace_stopped")


def archived(api: Api, made: dict):
    return api.patch(f"/v1/workspaces/{made['workspace_id']}", {"archived": True})


def pack(api: Api, made: dict):
    return api.post(f"/v1/workspaces/{made['workspace_id']}/executions", {"run_reason": "archive_script"})


@pytest.mark.parametrize("idle_before", [True, False])
def test_one_that_a_person_stopped_stays_stopped(api: Api, worker: Worker, idle_before: bool) -> None:
    made = quiet(api, worker)
    if idle_before:
        assert stopped(api, made)
    assert ask(api, made, "stop").status_code == 202
    node_acts(api)
    assert step(api, made).status_code == 202
    assert node_acts(api) == []
    assert workspace(api, made)["state"] == "stopped"
    assert workspace(api, made)["stop_reason"] == "client"
    server = api.post(f"/v1/workspaces/{made['workspace_id']}/dev-server")
    assert problem_of(server)[:2] == (409, "workspace_stopped")


def test_without_the_setting_nothing_is_stopped(api: Api, worker: Worker) -> None:
    made = quiet(api, worker, 400)
    sweep(api, workspace_idle_stop_hours=None)
    assert node_acts(api) == []
    assert workspace(api, made)["state"] == "running"
