"""The chain of a run: the plan of its steps, stored with each execution as `executor_action`.

A *step* is one process to run. A *step group* is a set of steps that may run at the same time: usually one step, or all
setup scripts together if every repository that has one sets `parallel_setup_script`. While a group runs, it holds the
workspace's lane, so no other group of the workspace runs.

Each execution stores its own step and, nested in it, all groups that follow (`next_action`). So the transaction that
ends a group can create the next group. Queue messages contain no part of the chain.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.step import AgentStep, CloneStep, DevServerStep, ScriptStep, Step
from relay_core.domain.vocabulary import RunReason, Status
from relay_core.domain.working_dir import ALL_CLONES


@dataclass(frozen=True)
class StepGroup:
    """Steps that may run at the same time, and the group that starts once all of them have ended.

    Attributes:
        following: the next group; None at the end of the chain.
    """

    steps: tuple[Step, ...]
    following: "StepGroup | None" = None


@dataclass(frozen=True)
class Action:
    """The step of one execution, and the step group that follows it.

    Attributes:
        following: the next group; None at the end of the chain.
    """

    step: Step
    following: StepGroup | None = None


@dataclass(frozen=True)
class RepoScripts:
    """The scripts of a repository, and the directory that they run in.

    Attributes:
        name: directory of the clone below ``repos/``.
        working_dir: directory of the scripts, relative to the root of the clone. None: the root.
        dev_server: the script that starts the dev server.
        parallel_setup_script: whether the setup script may run at the same time as those of other repositories.
        setup_as_root: whether the setup script runs as root in the container.
    """

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
        """Directory in which the scripts run, relative to the workspace directory."""
        return "/".join(part for part in ("repos", self.name, self.working_dir) if part)


def script_step(
    reason: RunReason, repo: RepoScripts, script: str, *, as_root: bool = False
) -> ScriptStep | DevServerStep:
    """Return the step that runs ``script`` in the working directory of a repository."""
    if reason is RunReason.DEV_SERVER:
        return DevServerStep(repo.name, script, repo.cwd)
    return ScriptStep(reason, repo.name, script, repo.cwd, as_root)


def agent_dir(repos: Sequence[RepoScripts]) -> str | None:
    """Return the directory in which a coding agent runs, relative to that of the clones, if none is asked for.

    With one repository it is the repository's working directory, with several that of the clones (None).
    """
    return repos[0].cwd.removeprefix("repos/") if len(repos) == 1 else None


def agent_cwd(repos: Sequence[RepoScripts], asked: str | None = None) -> str:
    """Return the directory in which a coding agent runs, relative to the workspace directory.

    Args:
        repos: the repositories of the workspace.
        asked: the directory that is asked for, relative to that of the clones (`domain.working_dir`); None: none is.
    """
    chosen = agent_dir(repos) if asked is None else asked
    return "repos" if chosen in {None, ALL_CLONES} else f"repos/{chosen}"


def plan_run(
    repos: Sequence[RepoScripts], executor: ExecutorChoice, prompt: str, working_dir: str | None = None
) -> Action:
    """Return the whole chain of a run: clone → setup scripts → agent → cleanup scripts.

    Without an executor (its name is empty) it ends after the setup scripts.

    Blank scripts are left out. The setup scripts form one group if there are several and *every* repo that has one sets
    `parallel_setup_script`; otherwise they run one after the other (docs/state-machine.md).

    Args:
        repos: the repositories of the workspace.
        executor: the agent or command.
        prompt: the prompt of the agent.
        working_dir: directory of the agent that is asked for, relative to that of the clones; None: none is.
    """
    setups: list[Step] = [
        script_step(RunReason.SETUP_SCRIPT, repo, repo.setup_script, as_root=repo.setup_as_root)
        for repo in repos
        if repo.setup_script and repo.setup_script.strip()
    ]
    with_setup = {step.repo for step in setups}
    parallel = len(setups) > 1 and all(repo.parallel_setup_script for repo in repos if repo.name in with_setup)
    groups = [setups] if parallel else [[step] for step in setups]
    if executor.name:
        groups.append([AgentStep(executor, prompt, agent_cwd(repos, working_dir))])
        groups += _cleanups(repos)
    return Action(CloneStep(), _nest(groups))


def plan_return(repos: Sequence[RepoScripts]) -> Action:
    """Return the chain that makes an imported workspace usable: clone → setup scripts."""
    return plan_run(repos, ExecutorChoice(""), "")


def plan_follow_up(repos: Sequence[RepoScripts], turn: AgentStep) -> Action:
    """Return the chain of a follow-up: the turn → cleanup scripts."""
    return Action(turn, _nest(_cleanups(repos)))


def _cleanups(repos: Sequence[RepoScripts]) -> list[list[Step]]:
    return [
        [script_step(RunReason.CLEANUP_SCRIPT, repo, repo.cleanup_script)]
        for repo in repos
        if repo.cleanup_script and repo.cleanup_script.strip()
    ]


def plan_archive(repos: Sequence[RepoScripts]) -> Action | None:
    """Return the chain of a workspace that is archived: the archive scripts of its repositories, one after another.

    None: no repository has one.
    """
    steps = [
        script_step(RunReason.ARCHIVE_SCRIPT, repo, repo.archive_script)
        for repo in repos
        if repo.archive_script and repo.archive_script.strip()
    ]
    return Action(steps[0], _nest([[step] for step in steps[1:]])) if steps else None


def next_group(action: Action) -> list[Action]:
    """Return the actions of the group that follows, one for each of its steps; empty at the end of the chain."""
    group = action.following
    return [] if group is None else [Action(step, group.following) for step in group.steps]


def cleans_up(action: Action) -> bool:
    """Return whether an agent's turn is followed by cleanup scripts."""
    return action.step.run_reason is RunReason.CODING_AGENT and _is_cleanup(action.following)


def without_cleanups(action: Action) -> Action:
    """Return an action without the cleanup scripts that follow it at once: there is nothing to clean up."""
    group = action.following
    while group is not None and _is_cleanup(group):
        group = group.following
    return Action(action.step, group)


def _is_cleanup(group: StepGroup | None) -> bool:
    return group is not None and all(step.run_reason is RunReason.CLEANUP_SCRIPT for step in group.steps)


_EACH_BY_ITSELF = frozenset({RunReason.CLEANUP_SCRIPT, RunReason.ARCHIVE_SCRIPT})
"""Kinds of scripts of which one that fails does not keep those of the other repos from running."""


def goes_on(members: Sequence[tuple[RunReason, Status]]) -> bool:
    """Return whether the chain continues after a step group whose executions have all ended.

    A failed step ends the chain, with one exception: after a failed cleanup or archive script, those of the other repos
    still run. A killed step always ends the chain.

    Args:
        members: run reason and final status of each execution of the group.
    """
    return all(
        status is Status.COMPLETED or (reason in _EACH_BY_ITSELF and status is Status.FAILED)
        for reason, status in members
    )


def _nest(groups: Sequence[Sequence[Step]]) -> StepGroup | None:
    following: StepGroup | None = None
    for steps in reversed(groups):
        following = StepGroup(tuple(steps), following)
    return following
