"""Turns a client's request for one more execution in a workspace into a step.

Decided from the request and the workspace's repos alone, without the database.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from relay_core.domain import chain
from relay_core.domain.agents.executors import ExecutorChoice, check_prompt
from relay_core.domain.chain import RepoScripts
from relay_core.domain.errors import InvalidInput
from relay_core.domain.run_notes import NO_NOTES, RunNotes
from relay_core.domain.step import AgentStep, Step
from relay_core.domain.vocabulary import RunReason

_OWN_SCRIPT = {
    RunReason.SETUP_SCRIPT: "setup_script",
    RunReason.CLEANUP_SCRIPT: "cleanup_script",
    RunReason.ARCHIVE_SCRIPT: "archive_script",
    RunReason.DEV_SERVER: "dev_server",
}
"""Field of `RepoScripts` with the repo's own script, by run reason."""


@dataclass(frozen=True)
class StepRequest:
    """A client's request for one more execution in a workspace."""

    run_reason: RunReason
    repo: str | None = None
    """Name of the repo; None: the workspace's only repo."""
    script: str | None = None
    """The script to run; None: the repo's own script for the run reason."""
    prompt: str | None = None
    """Prompt; required for a coding agent, and not allowed for other run reasons."""
    executor: Mapping[str, Any] | None = None
    """Fields of `ExecutorChoice`, for a coding agent only; None: the executor of the workspace's latest session."""
    as_root: bool = False
    """Whether the script runs as root; for a setup script only."""
    notes: RunNotes = NO_NOTES
    """Notes on the run that the step makes; not allowed for a step that belongs to no run."""


def plan(
    request: StepRequest, repos: Sequence[RepoScripts], executor: ExecutorChoice, agent_dir: str | None = None
) -> Step:
    """Return the step that a client's request stands for.

    Args:
        request: the request.
        repos: repos of the workspace, in order.
        executor: complete and checked; used for a coding agent only.
        agent_dir: working directory of the workspace's agents, relative to that of the clones; None: it follows from
            the repos.

    Raises:
        InvalidInput: a field is missing or does not belong to the run reason, the notes cannot be stored, or no repo or
            script can be chosen.
    """
    reason = request.run_reason
    _check_fields(request)
    if reason is RunReason.CODING_AGENT:
        check_prompt(executor.name, request.prompt or "")
        cwd = pick_repo(request.repo, repos).cwd if request.repo else chain.agent_cwd(repos, agent_dir)
        return AgentStep(executor, request.prompt or "", cwd)
    repo = pick_repo(request.repo, repos)
    script = request.script if request.script is not None else getattr(repo, _OWN_SCRIPT[reason])
    if not (script or "").strip():
        message = f"repository {repo.name!r} has no script for {reason}; give one in `script`"
        raise InvalidInput(message, code="script_missing", field="script")
    return chain.script_step(reason, repo, script, as_root=request.as_root)


def pick_repo(name: str | None, repos: Sequence[RepoScripts]) -> RepoScripts:
    """Return the repo of that name; without a name, the only repo.

    Raises:
        InvalidInput: there is no such repo, or there are several and the name is missing.
    """
    names = ", ".join(repo.name for repo in repos)
    if name is None and len(repos) == 1:
        return repos[0]
    if name is None:
        raise InvalidInput(f"the workspace has several repositories; name one of: {names}", field="repo")
    found = next((repo for repo in repos if repo.name == name), None)
    if found is None:
        raise InvalidInput(f"the workspace has no repository of that name; it has: {names}", field="repo")
    return found


def _check_fields(request: StepRequest) -> None:
    reason = request.run_reason
    agent = reason is RunReason.CODING_AGENT
    wrong = {
        "script": request.script is not None and agent,
        "prompt": request.prompt is not None and not agent,
        "executor": request.executor is not None and not agent,
        "as_root": request.as_root and reason is not RunReason.SETUP_SCRIPT,
    }
    for field, given in wrong.items():
        if given:
            raise InvalidInput(f"{field} does not belong to a {reason}", code="field_not_allowed", field=field)
    if request.notes.given() and not reason.in_run:
        field = request.notes.given()[0]
        message = f"a {reason} belongs to no run, so {field} has no place; leave it out"
        raise InvalidInput(message, code="field_not_allowed", field=field)
    request.notes.check()
    if agent and request.prompt is None:
        raise InvalidInput("a coding_agent needs a prompt", code="prompt_missing", field="prompt")
