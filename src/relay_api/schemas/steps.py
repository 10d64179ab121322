"""What a further step in a workspace runs: pure decisions on the request and the workspace's repos."""

from collections.abc import Sequence

from relay_api.schemas.runs import StepIn
from relay_core.domain import chain
from relay_core.domain.agents.executors import ExecutorChoice, check_prompt
from relay_core.domain.chain import RepoScripts
from relay_core.domain.errors import InvalidInput
from relay_core.domain.step import AgentStep, Step
from relay_core.domain.vocabulary import RunReason

_OWN_SCRIPT = {
    RunReason.SETUP_SCRIPT: "setup_script",
    RunReason.CLEANUP_SCRIPT: "cleanup_script",
    RunReason.ARCHIVE_SCRIPT: "archive_script",
    RunReason.DEV_SERVER: "dev_server",
}


def plan(body: StepIn, repos: Sequence[RepoScripts], executor: ExecutorChoice) -> Step:
    """The step that a request asks for.

    Args:
        body: the request.
        repos: the workspace's, in order.
        executor: for a coding agent, checked.

    Raises:
        InvalidInput: a field is missing or does not belong to the run_reason, or no repo or script can be chosen.
    """
    reason = RunReason(body.run_reason)
    _check_fields(body, reason)
    if reason is RunReason.CODING_AGENT:
        check_prompt(executor.name, body.prompt or "")
        cwd = pick_repo(body.repo, repos).cwd if body.repo else chain.agent_cwd(repos)
        return AgentStep(executor, body.prompt or "", cwd)
    repo = pick_repo(body.repo, repos)
    script = body.script if body.script is not None else getattr(repo, _OWN_SCRIPT[reason])
    if not (script or "").strip():
        message = f"repository {repo.name!r} has no script for {reason}; give one in `script`"
        raise InvalidInput(message, code="script_missing", field="script")
    return chain.script_step(reason, repo, script, as_root=body.as_root)


def pick_repo(name: str | None, repos: Sequence[RepoScripts]) -> RepoScripts:
    """The repo of that name; without a name the only one.

    Raises:
        InvalidInput: there is no such repo, or there are several and none is named.
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


def _check_fields(body: StepIn, reason: RunReason) -> None:
    agent = reason is RunReason.CODING_AGENT
    wrong = {
        "script": body.script is not None and agent,
        "prompt": body.prompt is not None and not agent,
        "executor": body.executor is not None and not agent,
        "as_root": body.as_root and reason is not RunReason.SETUP_SCRIPT,
    }
    for field, given in wrong.items():
        if given:
            raise InvalidInput(f"{field} does not belong to a {reason}", code="field_not_allowed", field=field)
    if agent and body.prompt is None:
        raise InvalidInput("a coding_agent needs a prompt", code="prompt_missing", field="prompt")
