"""Runs whose steps a test takes and ends itself, in the place of a worker."""

from typing import Any

from relay_core.domain import execution as machine
from tests.support.api_fixtures import Api, Worker


def newest(api: Api) -> dict[str, Any]:
    """Return the newest run, as a list shows it."""
    return api.get("/v1/runs?limit=1").json()["items"][0]


def carry_out(
    api: Api, worker: Worker, run_id: str, says: dict[str, bytes] | None = None, end: machine.Transition | None = None
) -> dict[str, Any]:
    """Take and end the steps of a run; the agent ends as told. Return the run."""
    while (run := api.get(f"/v1/runs/{run_id}").json())["status"] != "completed":
        step = run["current_step"]
        worker.ready(run["workspace_id"])
        claimed = worker.claim(step["execution_id"])
        if step["run_reason"] in (says or {}):
            worker.log(claimed, [("stdout", (says or {})[step["run_reason"]])])
        agent = step["run_reason"] == "coding_agent"
        worker.finish(claimed, end if agent else None, log_ends=worker.log_ends(claimed))
    return run
