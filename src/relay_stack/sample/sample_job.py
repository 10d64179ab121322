"""Run the sample job: post it to the API, show its logs, and fetch the page of its dev server."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from relay_core.console import server_sent_events
from relay_core.console.output import log_writers, note
from relay_core.console.terminal_text import safe, safe_line
from relay_stack.errors import StackProblem
from relay_stack.files.stack_state import StackState
from relay_stack.sample.sample_repo import SERVED_TEXT, make_sample_repo, sample_folder

STEP_SECONDS = 300
"""Longest silence of a step's log stream before it counts as broken; the API sends a heartbeat every few seconds."""
SERVE_SECONDS = 60
"""Longest wait until the dev server answers on its port."""


@dataclass(frozen=True)
class SampleResult:
    """The result of the sample job."""

    workspace_id: str
    executions: list[dict[str, Any]]
    """The executions as the API shows them, in order; the dev server is last."""
    page_url: str | None
    """URL of the dev server's page; None if the server did not serve the page that the agent changed."""

    @property
    def succeeded(self) -> bool:
        """True if every step completed and the dev server served the page that the agent changed."""
        steps = [execution for execution in self.executions if execution["run_reason"] != "dev_server"]
        return self.page_url is not None and all(step["status"] == "completed" for step in steps)


def run_sample(data_dir: Path, state: StackState) -> SampleResult:
    """Run the sample job, show its logs, and return the result.

    Args:
        data_dir: data directory of the stack.
        state: state of the running stack.

    Raises:
        StackProblem: the API refused a request, or stopped answering.
    """
    repo = make_sample_repo(sample_folder(data_dir))
    note(f"Running the sample job on {repo.path}")
    headers = {"Authorization": f"Bearer {state.token}"}
    timeout = httpx.Timeout(30, read=STEP_SECONDS)
    with httpx.Client(base_url=state.api_url, headers=headers, timeout=timeout, trust_env=False) as api:
        try:
            run = _checked(api.post("/v1/runs", json=repo.request()))
            workspace = run["workspace_id"]
            _follow_chain(api, workspace)
            page_url = _serve(api, workspace) if _chain_succeeded(api, workspace) else None
            executions = _executions(api, workspace)
        except httpx.HTTPError as error:
            raise StackProblem(f"The API stopped answering ({error}); see {data_dir / 'logs'}") from error
    return SampleResult(workspace, executions, page_url)


def _checked(answer: httpx.Response) -> dict[str, Any]:
    if answer.is_error:
        raise StackProblem(f"The API answered {answer.status_code} to {answer.request.url.path}: {answer.text}")
    found: dict[str, Any] = answer.json()
    return found


def _executions(api: httpx.Client, workspace: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _checked(api.get(f"/v1/workspaces/{workspace}/executions"))["items"]
    return found


def _chain_succeeded(api: httpx.Client, workspace: str) -> bool:
    return all(execution["status"] == "completed" for execution in _executions(api, workspace))


def _follow_chain(api: httpx.Client, workspace: str) -> None:
    """Show the log of each step while it runs, until no step follows. A step exists once the one before has ended."""
    seen: set[str] = set()
    while fresh := [step for step in _executions(api, workspace) if step["id"] not in seen]:
        for step in fresh:
            seen.add(step["id"])
            print(f"\n── {step['run_reason']} ──", flush=True)
            ending = _show_log(api, step["id"])
            took = "" if ending["exit_code"] is None else f", exit code {ending['exit_code']}"
            print(
                f"── {step['run_reason']}: {ending['status']}{took} {safe_line(ending.get('error_reason') or '')}",
                flush=True,
            )


def _show_log(api: httpx.Client, execution: str) -> dict[str, Any]:
    """Print a log to its end; reconnect if the API closes the stream early. Return the data of the event `end`."""
    last = "0"
    writer = log_writers()["stdout"]
    while True:
        path = f"/v1/executions/{execution}/logs/stream"
        with api.stream("GET", path, params={"view": "utf8"}, headers={"Last-Event-ID": last}) as answer:
            if answer.is_error:
                answer.read()
                _checked(answer)
            for event in server_sent_events.parse(answer.iter_lines()):
                if event.name == "end":
                    ending: dict[str, Any] = event.data
                    return ending
                last = event.id or last
                writer.write(event.data["text"].encode())


def _serve(api: httpx.Client, workspace: str) -> str | None:
    """Start the dev server and fetch its page. Return the URL; None if the page lacks the agent's change or fails."""
    print("\n── dev_server ──", flush=True)
    server = _checked(api.post(f"/v1/workspaces/{workspace}/dev-server", json={}))["id"]
    deadline = time.monotonic() + SERVE_SECONDS
    while time.monotonic() < deadline:
        execution = _checked(api.get(f"/v1/executions/{server}"))
        url: str | None = (execution["dev_server"] or {}).get("url")
        if url:
            page = httpx.get(url, timeout=30, trust_env=False).text
            print(f"GET {url}\n{safe(page)}", flush=True)
            return url if SERVED_TEXT in page else None
        if execution["status"] not in {"queued", "running"}:
            print(f"── dev_server: {execution['status']} {safe_line(execution['error_reason'] or '')}", flush=True)
            return None
        time.sleep(0.2)  # poll: no log event reports that the port answers
    return None
