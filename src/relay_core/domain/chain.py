"""The steps of a job as data: what runs, in which group, and what follows (`executor_action.next_action`).

A *step* is one process. A *step group* holds the lane together: one step, or all setup scripts as siblings where every
repo says `parallel_setup_script`. The chain is a nested value stored with each execution, so that finishing a group
can create the next one in the same transaction; nothing of it lives in a queue message.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from relay_core.domain.vocabulary import RunReason, Status

Step = dict[str, Any]
"""JSON: run_reason, repo (name or null), script (str), cwd (below /workspace), as_root (bool); for a coding agent also
executor (relay_core.domain.agents.executors.ExecutorChoice.as_json), prompt, and follow_up (true: it goes on with the
session's conversation)."""

Action = dict[str, Any]
"""JSON: {"step": Step, "next_action": {"steps": [Step, …], "next_action": …} | null}."""


@dataclass(frozen=True)
class RepoScripts:
    """What a repo asks for, and where it runs."""

    name: str
    working_dir: str | None = None
    setup_script: str | None = None
    cleanup_script: str | None = None
    dev_server: str | None = None
    archive_script: str | None = None
    parallel_setup_script: bool = False
    setup_as_root: bool = False

    @property
    def cwd(self) -> str:
        """Where its scripts run, below the workspace directory."""
        return "/".join(part for part in ("repos", self.name, self.working_dir) if part)


def script_step(reason: RunReason, repo: RepoScripts, script: str, *, as_root: bool = False) -> Step:
    """A step that runs a script of a repo in its working directory."""
    return {"run_reason": reason, "repo": repo.name, "script": script, "cwd": repo.cwd, "as_root": as_root}


def scripts(reason: RunReason, repos: Sequence[RepoScripts]) -> list[Step]:
    """The steps of all repos that have a script for ``reason`` (named as the field that holds it)."""
    given = ((repo, getattr(repo, reason)) for repo in repos)
    setup = reason is RunReason.SETUP_SCRIPT
    return [
        script_step(reason, repo, script, as_root=setup and repo.setup_as_root)
        for repo, script in given
        if _given(script)
    ]


def agent_step(executor: dict[str, Any], prompt: str, cwd: str) -> Step:
    """A step that runs a coding agent."""
    step: Step = {"run_reason": RunReason.CODING_AGENT, "repo": None, "cwd": cwd, "as_root": False}
    return {**step, "executor": executor, "prompt": prompt}


def agent_cwd(repos: Sequence[RepoScripts]) -> str:
    """One repo: its working directory; several: the directory that holds them."""
    return repos[0].cwd if len(repos) == 1 else "repos"


def plan_run(repos: Sequence[RepoScripts], executor: dict[str, Any], prompt: str) -> Action:
    """The whole chain of a run: clone → setup scripts → agent → cleanup scripts.

    Setup scripts are siblings in one group only if *every* repo that has one says so (docs/state-machine.md).
    """
    setups = scripts(RunReason.SETUP_SCRIPT, repos)
    parallel = len(setups) > 1 and all(repo.parallel_setup_script for repo in repos if _given(repo.setup_script))
    groups = [setups] if parallel else [[step] for step in setups]
    groups.append([agent_step(executor, prompt, agent_cwd(repos))])
    groups += [[step] for step in scripts(RunReason.CLEANUP_SCRIPT, repos)]
    clone: Step = {"run_reason": RunReason.CLONE, "repo": None, "cwd": "", "as_root": False}
    return {"step": clone, "next_action": _nest(groups)}


def single(step: Step) -> Action:
    """A chain of one step."""
    return {"step": step, "next_action": None}


def next_group(action: Action) -> list[Action]:
    """The actions of the group that follows, one for each sibling; empty at the end of the chain."""
    following = action.get("next_action")
    if following is None:
        return []
    return [{"step": step, "next_action": following["next_action"]} for step in following["steps"]]


def goes_on(members: Sequence[tuple[RunReason, Status]]) -> bool:
    """Whether the chain goes on after a group whose members have all ended.

    One failure ends the chain, except that a failed cleanup script does not keep the next repo's from running; a kill
    always ends it.
    """
    return all(
        status is Status.COMPLETED or (reason is RunReason.CLEANUP_SCRIPT and status is Status.FAILED)
        for reason, status in members
    )


def _given(script: str | None) -> bool:
    return bool(script and script.strip())


def _nest(groups: Sequence[Sequence[Step]]) -> dict[str, Any] | None:
    following: dict[str, Any] | None = None
    for steps in reversed(groups):
        following = {"steps": list(steps), "next_action": following}
    return following
