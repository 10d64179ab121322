"""The sample job: submitted by HTTP like any other, its log on the screen, its dev server fetched."""

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
"""Longest silence of one step's log stream; the server sends a heartbeat every few seconds."""
SERVE_SECONDS = 60


@dataclass(frozen=True)
class SampleResult:
    """What the sample job did."""

    workspace_id: str
    executions: list[dict[str, Any]]
    """As the API shows them, in order; the dev server last."""
    page_url: str | None
    """Where the dev server answers."""

    @property
    def succeeded(self) -> bool:
        """Whether every step completed and the page was served as the agent left it."""
        steps = [one for one in self.executions if one["run_reason"] != "dev_server"]
        return self.page_url is not None and all(one["status"] == "completed" for one in steps)


def run_sample(data_dir: Path, state: StackState) -> SampleResult:
    """Runs it and shows it.

    Raises:
        StackProblem: the API refused it or does not answer any more.
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
    return all(one["status"] == "completed" for one in _executions(api, workspace))


def _follow_chain(api: httpx.Client, workspace: str) -> None:
    """Shows each step's log as it comes; the next step exists as soon as one has ended."""
    seen: set[str] = set()
    while fresh := [one for one in _executions(api, workspace) if one["id"] not in seen]:
        for one in fresh:
            seen.add(one["id"])
            print(f"\n── {one['run_reason']} ──", flush=True)
            ending = _show_log(api, one["id"])
            took = "" if ending["exit_code"] is None else f", exit code {ending['exit_code']}"
            print(
                f"── {one['run_reason']}: {ending['status']}{took} {safe_line(ending.get('error_reason') or '')}",
                flush=True,
            )


def _show_log(api: httpx.Client, execution: str) -> dict[str, Any]:
    """Prints the log to its end; comes again where a stream breaks off. Returns the data of its `end` event."""
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
    """Starts the dev server and fetches its page; None where it does not serve what the agent made."""
    print("\n── dev_server ──", flush=True)
    server = _checked(api.post(f"/v1/workspaces/{workspace}/dev-server", json={}))["id"]
    deadline = time.monotonic() + SERVE_SECONDS
    while time.monotonic() < deadline:
        one = _checked(api.get(f"/v1/executions/{server}"))
        url: str | None = (one["dev_server"] or {}).get("url")
        if url:
            page = httpx.get(url, timeout=30, trust_env=False).text
            print(f"GET {url}\n{safe(page)}", flush=True)
            return url if SERVED_TEXT in page else None
        if one["status"] not in {"queued", "running"}:
            print(f"── dev_server: {one['status']} {safe_line(one['error_reason'] or '')}", flush=True)
            return None
        time.sleep(0.2)  # that a port answers is no event of the log
    return None
