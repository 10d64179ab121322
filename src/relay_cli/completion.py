"""Values for shell completion: fixed words, and what the API knows. Without an answer there is nothing to complete.

A completion function gets the beginning that a person has typed, and returns the values that begin with it, each with a
word of help or an empty text.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from relay_core.quick_start import load

DEADLINE_SECONDS = 0.8
"""Time that the API has for its answer. A shell is silent meanwhile."""
MOST = 100
"""Most values that the API is asked for."""
Values = list[tuple[str, str]]


def executors(incomplete: str) -> Values:
    """Return the names of executors."""
    kinds = load("relay_core.domain.agents.executors:EXECUTORS")
    return _beginning(incomplete, ((kind.name, kind.summary) for kind in kinds.values()))


def agent_images(incomplete: str) -> Values:
    """Return the agents that an image can be built with."""
    kinds = load("relay_core.domain.agents.executors:EXECUTORS")
    return _beginning(incomplete, ((kind.name, kind.summary) for kind in kinds.values() if kind.program))


def workspace_states(incomplete: str) -> Values:
    """Return the states of workspaces."""
    return _words(incomplete, "WorkspaceState")


def task_statuses(incomplete: str) -> Values:
    """Return the statuses of tasks."""
    return _words(incomplete, "TaskStatus")


def merge_statuses(incomplete: str) -> Values:
    """Return the statuses of merges."""
    return _words(incomplete, "MergeStatus")


def run_statuses(incomplete: str) -> Values:
    """Return the statuses and conclusions of runs."""
    words = ("queued", "running", "completed", "success", "failure", "cancelled", "timed_out", "lost")
    return _beginning(incomplete, ((word, "") for word in words))


def scopes(incomplete: str) -> Values:
    """Return the scopes of tokens."""
    return _words(incomplete, "Scope")


def limits(incomplete: str) -> Values:
    """Return the names of limits, each with `=`."""
    names = (field.name for field in load("dataclasses:fields")(load("relay_core.domain.limits:Limits")))
    short = (name.removesuffix("_bytes").removesuffix("_seconds").replace("_", "-") for name in names)
    return _beginning(incomplete, ((f"{name}=", "") for name in short))


def runs(incomplete: str) -> Values:
    """Return the ids of runs, newest first, with their titles."""
    return _beginning(incomplete, _from_api("/v1/runs", lambda run: (run["id"][:8], run["title"] or "")))


def workspaces(incomplete: str) -> Values:
    """Return the ids of workspaces, newest first, with their titles."""
    return _beginning(
        incomplete, _from_api("/v1/workspaces", lambda found: (found["id"][:8], found["task"]["title"] or ""))
    )


def tasks(incomplete: str) -> Values:
    """Return the ids of tasks, newest first, with their titles."""
    return _beginning(incomplete, _from_api("/v1/tasks", lambda task: (task["id"][:8], task["title"] or "")))


def projects(incomplete: str) -> Values:
    """Return the names of projects."""
    return _beginning(incomplete, _from_api("/v1/projects", lambda found: (found["name"], found["id"][:8])))


def nodes(incomplete: str) -> Values:
    """Return the ids of nodes."""
    found = _from_api("/v1/nodes", lambda node: (node["node_id"], node["liveness"]), paged=False)
    return _beginning(incomplete, found)


def tokens(incomplete: str) -> Values:
    """Return the ids of tokens, with their names."""
    return _beginning(incomplete, _from_api("/v1/tokens", lambda token: (token["id"], token["name"]), paged=False))


def images(incomplete: str) -> Values:
    """Return the images of the newest runs and workspaces."""
    return _beginning(incomplete, _from_api("/v1/workspaces", lambda found: (found["image"] or "", "")))


def labels(incomplete: str) -> Values:
    """Return the labels of the newest runs, as NAME=VALUE."""
    found = _from_api("/v1/runs", lambda run: [(f"{name}={value}", "") for name, value in run["labels"].items()])
    return _beginning(incomplete, (pair for pairs in found for pair in pairs))


def _words(incomplete: str, kind: str) -> Values:
    return _beginning(incomplete, ((word.value, "") for word in load(f"relay_core.domain.vocabulary:{kind}")))


def _beginning(incomplete: str, found: Iterable[tuple[str, str]]) -> Values:
    clean = load("relay_core.console.terminal_text:safe_line")
    unique = {value: help_text for value, help_text in found if value and value.startswith(incomplete)}
    return [(clean(value), clean(help_text)) for value, help_text in unique.items()]


def _from_api(path: str, pick: Callable[[dict[str, Any]], Any], *, paged: bool = True) -> Iterator[Any]:
    """Yield what ``pick`` takes from the newest items of a list; nothing if the API does not answer in time."""
    with suppress(Exception):  # a shell that completes a word has no place for an error
        api = load("relay_cli.client:connect")()
        api.http.timeout = DEADLINE_SECONDS
        found = api.items(path, MOST) if paged else api.all_items(path)
        yield from [pick(item) for item in found]
