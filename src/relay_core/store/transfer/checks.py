"""Checks of what an import contains, so that it can ask for no more than a request of its owner can."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import islice
from typing import Any

from relay_core.domain import copy_files
from relay_core.domain.agents.conversation import EntryKind, ToolStatus
from relay_core.domain.agents.executors import FIELDS, ExecutorChoice
from relay_core.domain.chain import Action
from relay_core.domain.errors import InvalidInput
from relay_core.domain.events import EventKind
from relay_core.domain.git.branch_name import is_valid_branch, is_valid_repo_name
from relay_core.domain.git.start_ref import check_ref
from relay_core.domain.git.url import parse_git_url
from relay_core.domain.images import check_allowed, check_registry
from relay_core.domain.limits import Limits
from relay_core.domain.step import AgentStep, ResetStep, Step
from relay_core.domain.vocabulary import FINAL, RunReason, RunStatus
from relay_core.domain.working_dir import check_agent_dir, normal_working_dir
from relay_core.settings import Settings
from relay_core.store.executions.action_json import action_from_json, action_to_json, executor_from_json
from relay_core.store.transfer.codec import damaged

MOST_UID = (1 << 31) - 1
MOST_SECRETS = 50
MOST_NUMBER = 10**15
"""Largest count of an import; Postgres can add up any number of them."""
_MOST_NUMBERS = 30
_MOST_NAME = 64
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_COUNTS = ("files", "insertions", "deletions")
_TEXTS = ("repo", "cwd", "script", "prompt", "branch", "target_branch", "message")
_LISTS = ("masked", "masked_fields", "omitted")


def workspace(row: Mapping[str, Any], names: Sequence[str], settings: Settings) -> dict[str, Any]:
    """Return the columns of an imported workspace, with limits that this server allows.

    Raises:
        InvalidInput: the branch, a directory, the image or the user cannot be used here.
    """
    if not is_valid_branch(row["branch"]):
        raise InvalidInput("the workspace's branch is not a name that git takes for a branch", code="branch_invalid")
    if (path := row.get("agent_working_dir")) is not None:
        check_agent_dir(path, names, "agent_working_dir")
        if ".." in path.split("/"):
            raise damaged("the working directory of the agent leaves the clones")
    for image in {row[name] for name in ("requested_image", "resolved_image") if name in row}:
        check_allowed(image, settings.allowed_images)
        check_registry(image, settings.remote_policy, settings.trusted_images)
    if not 0 <= row.get("requested_uid", 0) <= MOST_UID:
        raise damaged("the user id is none")
    if not {*row.get("secrets_in", ())} <= {*RunReason}:
        raise damaged("secrets_in has an unknown kind of execution")
    return {**row, "limits": _limits(row["limits"], settings), "sources": _texts(row.get("sources", {}))}


def url(text: Any, settings: Settings) -> str:
    """Return the URL of a repo in the form that is given to git.

    Raises:
        InvalidInput: it is none, or is not allowed here.
    """
    if not isinstance(text, str):
        raise damaged("a repository has no URL")
    return parse_git_url(text, settings.remote_policy).text


def repo(row: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Return the columns of a repo of an imported workspace.

    Raises:
        InvalidInput: its URL, name, branch, ref, directory or patterns cannot be used here.
    """
    if not is_valid_repo_name(row["name"]):
        raise damaged("a repository has no usable name")
    if (branch := row.get("target_branch")) is not None and not is_valid_branch(branch):
        raise InvalidInput("a target branch is not a name that git takes for a branch", code="branch_invalid")
    if (ref := row.get("ref")) is not None:
        check_ref(ref, "ref")
    if (path := row.get("working_dir")) is not None and normal_working_dir(path, "working_dir") != path:
        raise damaged("a working directory leaves its repository")
    copy_files.parse(row.get("copy_files"))
    return {**row, "url": url(row["url"], settings)}


def secrets(rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Return the columns of the secrets that an imported workspace uses, by name.

    Raises:
        InvalidInput: `import_damaged`: they are too many, or a name is none of a variable.
    """
    names = [row[name] for row in rows for name in ("env_name", "secret_name")]
    if len(rows) > MOST_SECRETS or not all(_VARIABLE.fullmatch(name) for name in names):
        raise damaged("the names of its secrets cannot be used")
    return rows


def execution(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the columns of an imported execution.

    Raises:
        InvalidInput: `import_damaged`: it has not ended, or its action is none of this workspace.
    """
    if row.get("status") not in FINAL:
        raise damaged("an execution has not ended")
    try:
        action = action_from_json(row["executor_action"])
        stored = action_to_json(action)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged("the action of an execution is none that this version knows") from error
    for step in _steps(action):
        _check_types(step)
        outside = step.cwd.startswith("/") or ".." in step.cwd.split("/")
        if outside or (step.repo is not None and step.repo not in names):
            raise damaged("a step is in no repository of the workspace")
    if action.step.run_reason != row["run_reason"]:
        raise damaged("an execution has another action than its kind")
    return {**row, "executor_action": stored}


def state(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a recorded git state, with statistics that have the types that readers expect."""
    kept = dict(row)
    if "stat" in kept:
        kept["stat"] = _stat(kept["stat"])
    return kept


def turn(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of an agent's turn."""
    return {**row, **({"usage": _numbers(row["usage"])} if "usage" in row else {})}


def session(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a session.

    Raises:
        InvalidInput: `import_damaged`.
    """
    try:
        _check_executor(executor_from_json(row.get("executor_config", {})))
    except (TypeError, AttributeError) as error:
        raise damaged("the executor of a session is none") from error
    return dict(row)


def run(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a run.

    Raises:
        InvalidInput: `import_damaged`: it has not ended.
    """
    if row.get("status") != RunStatus.COMPLETED:
        raise damaged("a run has not ended")
    return {**row, "labels": _texts(row.get("labels", {}))}


def entry(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of an entry of a conversation.

    Raises:
        InvalidInput: `import_damaged`.
    """
    content = row["content"]
    tool, texts = content.get("tool"), {"name": str, "input": str, "status": str, "result": str, "paths": list}
    right = row["kind"] in {*EntryKind} and isinstance(content.get("text"), str)
    right = right and set(content) <= {"text", "tool", "usage", "truncated", "agent", "masked"}
    if tool is not None:
        right = right and isinstance(tool, dict) and set(tool) == set(texts)
        right = right and all(isinstance(tool[name], kind) for name, kind in texts.items())
        right = right and tool["status"] in {*ToolStatus} and all(isinstance(path, str) for path in tool["paths"])
    right = right and isinstance(content.get("agent"), str | None)
    right = right and all(type(content.get(name, False)) is bool for name in ("truncated", "masked"))
    if not right:
        raise damaged("an entry of a conversation is none that this version knows")
    usage = content.get("usage")
    return {**row, "content": {**content, "usage": None if usage is None else _numbers(usage)}}


def event(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of an event.

    Raises:
        InvalidInput: `import_damaged`: this version knows no events of its kind.
    """
    if row["kind"] not in {*EventKind} or row.get("workspace_seq", 0) < 1:
        raise damaged(f"an event has the kind {row['kind']}, which this version does not know")
    return dict(row)


def _steps(action: Action) -> Iterator[Step]:
    yield action.step
    group = action.following
    while group is not None:
        yield from group.steps
        group = group.following


def _check_types(step: Step) -> None:
    """Refuse a step with a value of another type, which the views of executions cannot show."""
    texts = [getattr(step, name, None) for name in _TEXTS]
    if isinstance(step, ResetStep):
        texts += [text for target in step.targets for text in (target.repo, target.commit)]
    flags = [getattr(step, name, False) for name in ("force", "discard_changes")]
    if not all(isinstance(text, str | None) for text in texts) or not all(type(flag) is bool for flag in flags):
        raise damaged("a step has a value of another type")
    if isinstance(step, AgentStep):
        _check_executor(step.executor)


def _check_executor(choice: ExecutorChoice) -> None:
    """Refuse an executor with a value of another type; `check_executor` checks it again before each use."""
    texts = [getattr(choice, name) for name in FIELDS if name not in {"args", "env"}]
    inside = [*choice.args, *choice.env, *choice.env.values()]
    if not all(isinstance(text, str | None) for text in texts) or not all(isinstance(text, str) for text in inside):
        raise damaged("an executor has a value of another type")


def _limits(stored: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    bounds = vars(settings)
    highest = {one.name: bounds[f"max_{one.name}"] for one in fields(Limits) if f"max_{one.name}" in bounds}
    known = {one.name for one in fields(Limits)}
    wanted = {name: value for name, value in stored.items() if name in known}
    lowered = {
        name: min(value, highest.get(name, value)) if isinstance(value, int | float) else value
        for name, value in wanted.items()
    }
    return dict(vars(Limits.from_request(lowered, highest)))


def _stat(stored: Any) -> dict[str, Any]:
    found: dict[str, Any] = {name: stored[name] for name in _COUNTS if _is_count(stored.get(name))}
    if type(stored.get("truncated")) is bool:
        found["truncated"] = stored["truncated"]
    if isinstance(stored.get("base"), str):
        found["base"] = stored["base"]
    for name in _LISTS:
        if isinstance(stored.get(name), list):
            found[name] = [each for each in stored[name] if _is_path(each)]
    excluded = stored.get("excluded")
    if isinstance(excluded, Mapping) and _is_count(excluded.get("count")) and isinstance(excluded.get("paths"), list):
        found["excluded"] = {
            "count": excluded["count"],
            "paths": [each for each in excluded["paths"] if _is_path(each)],
        }
    for name in ("step", "run"):
        if isinstance(stored.get(name), Mapping):
            found[name] = _stat(stored[name])
    return found


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MOST_NUMBER


def _is_path(each: Any) -> bool:
    return isinstance(each, str) or (isinstance(each, Mapping) and all(isinstance(text, str) for text in each.values()))


def _numbers(stored: Any) -> dict[str, float]:
    if not isinstance(stored, Mapping):
        return {}
    usable = (
        (name, value)
        for name, value in stored.items()
        if type(value) in {int, float} and abs(value) <= MOST_NUMBER and len(name) <= _MOST_NAME
    )
    return dict(islice(usable, _MOST_NUMBERS))


def _texts(stored: Mapping[str, Any]) -> dict[str, str]:
    return {name: value for name, value in stored.items() if isinstance(value, str)}
