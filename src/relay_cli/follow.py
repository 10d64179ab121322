"""Following a run: the log of each step as it comes, to the end that the API tells (and nothing else)."""

import base64
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx

from relay_cli import sse
from relay_cli.client import Api, check
from relay_cli.output import LogWriter, note

BACKOFF_SECONDS = (0.2, 0.5, 1, 2, 5)
"""Between attempts to take a broken stream up again."""
KILLED_EXIT_CODE = 130
"""As a shell says of a program ended by Ctrl-C."""


def follow_log(api: Api, execution_id: str, writers: Mapping[str, LogWriter], stream: str = "all") -> dict[str, Any]:
    """Show a log to its end, across dropped connections; returns what the API says of the execution then."""
    last: str | None = None
    failures = 0
    while True:
        try:
            for event in _events(api, execution_id, stream, last):
                failures = 0
                last = event.id or last
                if event.name == "end":
                    ended: dict[str, Any] = event.data
                    return ended
                writers[event.data["stream"]].write(base64.b64decode(event.data["b64"]))
        except httpx.TransportError as error:
            if failures >= len(BACKOFF_SECONDS):
                raise
            note(f"the stream broke off ({error or type(error).__name__}); taking it up again")
        time.sleep(BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)])
        failures += 1


def _events(api: Api, execution_id: str, stream: str, last: str | None) -> Iterator[sse.ServerEvent]:
    path = f"/v1/executions/{execution_id}/logs/stream"
    headers = {"Last-Event-ID": last} if last else {}
    with api.http.stream("GET", path, params={"stream": stream}, headers=headers) as answer:
        if answer.is_error:
            answer.read()
        check(answer)
        yield from sse.parse(answer.iter_lines())


def follow_chain(api: Api, workspace_id: str, writers: Mapping[str, LogWriter]) -> dict[str, Any]:
    """Show every step of a workspace's chain in turn; returns the execution that decided how it ended."""
    seen: set[str] = set()
    decisive: dict[str, Any] = {}
    while True:
        path = f"/v1/workspaces/{workspace_id}/executions"
        fresh = [one for one in api.items(path) if one["id"] not in seen and one["run_reason"] != "dev_server"]
        if not fresh:
            return decisive
        for one in fresh:
            seen.add(one["id"])
            decisive = worse(decisive, show_step(api, one, writers))


def show_step(api: Api, execution: dict[str, Any], writers: Mapping[str, LogWriter]) -> dict[str, Any]:
    """Show one step; returns it as it is after its end."""
    name = execution["run_reason"] + (f" of {execution['repo']}" if execution.get("repo") else "")
    note(f"{name} …")
    began = time.monotonic()
    follow_log(api, execution["id"], writers)
    ended: dict[str, Any] = api.call("GET", f"/v1/executions/{execution['id']}")
    why = f": {ended['error_reason']}" if ended.get("error_reason") else ""
    note(f"{name} {ended['status']} after {time.monotonic() - began:.1f} s{why}")
    return ended


def worse(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The execution that says how a chain ended: the first that did not complete, else the last."""
    return one if one and one["status"] != "completed" else other


EXIT_CODES: Mapping[str, Callable[[int | None], int]] = {
    "completed": lambda _code: 0,
    "killed": lambda _code: KILLED_EXIT_CODE,
    "failed": lambda code: code if code and 0 < code < 256 else 1,
}


def exit_code(execution: dict[str, Any]) -> int:
    """The command's exit code, from the *status* that the API gives; a failed run's own code where it has one."""
    return EXIT_CODES[execution["status"]](execution["exit_code"])
