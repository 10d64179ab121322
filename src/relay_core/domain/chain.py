"""The chain of a run: the steps of each group and the group that follows, stored as `executor_action.next_action`.

A *step* is one process. A *step group* holds the lane together: one step, or all setup scripts as siblings where every
repository says `parallel_setup_script`. The chain is a nested value stored with each execution, so that the end of a
group can create the next group in the same transaction. A queue message holds nothing of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.step import AgentStep, CloneStep, DevServerStep, ScriptStep, Step
from relay_core.domain.vocabulary import RunReason, Status


@dataclass(frozen=True)
class StepGroup:
    """Steps that run as siblings, and the group that follows once all of them have ended."""

    steps: tuple[Step, ...]
    following: "StepGroup | None" = None


@dataclass(frozen=True)
class Action:
    """The step of one execution, and the group that follows it."""

    step: Step
    following: StepGroup | None = None


@dataclass(frozen=True)
class RepoScripts:
    """The scripts of a repository, and the directory that they run in."""

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
        """Directory of the scripts, below the workspace directory."""
        return "/".join(part for part in ("repos", self.name, self.working_dir) if part)


def script_step(
    reason: RunReason, repo: RepoScripts, script: str, *, as_root: bool = False
) -> ScriptStep | DevServerStep:
    """A step that runs ``script`` in the working directory of a repository."""
    if reason is RunReason.DEV_SERVER:
        return DevServerStep(repo.name, script, repo.cwd)
    return ScriptStep(reason, repo.name, script, repo.cwd, as_root)


def agent_cwd(repos: Sequence[RepoScripts]) -> str:
    """Where a coding agent runs: in the one repository's working directory, or above all of several repositories."""
    return repos[0].cwd if len(repos) == 1 else "repos"


def plan_run(repos: Sequence[RepoScripts], executor: ExecutorChoice, prompt: str) -> Action:
    """The whole chain of a run: clone → setup scripts → agent → cleanup scripts.

    Setup scripts are siblings in one group only if *every* repo that has one says so (docs/state-machine.md).
    """
    setups: list[Step] = [
        script_step(RunReason.SETUP_SCRIPT, repo, repo.setup_script, as_root=repo.setup_as_root)
        for repo in repos
        if repo.setup_script and repo.setup_script.strip()
    ]
    cleanups: list[Step] = [
        script_step(RunReason.CLEANUP_SCRIPT, repo, repo.cleanup_script)
        for repo in repos
        if repo.cleanup_script and repo.cleanup_script.strip()
    ]
    with_setup = {step.repo for step in setups}
    parallel = len(setups) > 1 and all(repo.parallel_setup_script for repo in repos if repo.name in with_setup)
    groups = [setups] if parallel else [[step] for step in setups]
    groups.append([AgentStep(executor, prompt, agent_cwd(repos))])
    groups += [[step] for step in cleanups]
    return Action(CloneStep(), _nest(groups))


def next_group(action: Action) -> list[Action]:
    """The actions of the group that follows, one for each sibling; empty at the end of the chain."""
    group = action.following
    return [] if group is None else [Action(step, group.following) for step in group.steps]


def goes_on(members: Sequence[tuple[RunReason, Status]]) -> bool:
    """Whether the chain goes on after a group whose members have all ended.

    One failure ends the chain, except that a failed cleanup script does not keep the next repo's from running; a kill
    always ends it.
    """
    return all(
        status is Status.COMPLETED or (reason is RunReason.CLEANUP_SCRIPT and status is Status.FAILED)
        for reason, status in members
    )


def _nest(groups: Sequence[Sequence[Step]]) -> StepGroup | None:
    following: StepGroup | None = None
    for steps in reversed(groups):
        following = StepGroup(tuple(steps), following)
    return following
