"""The steps of a run's plan, before they have a row: the work of one execution, by kind.

Every kind has `run_reason`, `repo` (name of the repository whose script it runs, or None), `cwd` (directory below
``/workspace``) and `as_root`, so code that handles all kinds need not ask for the type.
"""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.vocabulary import MergeKind, MergeMethod, RunReason


@dataclass(frozen=True)
class CloneStep:
    """Prepares the workspace: gets the image, creates the container and clones each repository.

    It has no script.
    """

    run_reason: ClassVar[RunReason] = RunReason.CLONE
    repo: ClassVar[None] = None
    cwd: ClassVar[str] = ""
    as_root: ClassVar[bool] = False


@dataclass(frozen=True)
class ScriptStep:
    """Runs a script of a repository to its end.

    Attributes:
        run_reason: `setup_script`, `cleanup_script` or `archive_script`.
        as_root: whether the script runs as root in the container instead of as the workspace's user; setup scripts
            only.
    """

    run_reason: RunReason
    repo: str
    script: str
    cwd: str
    as_root: bool = False


@dataclass(frozen=True)
class DevServerStep:
    """Runs the dev server of a repository until it ends or is killed; other steps do not wait for it."""

    repo: str
    script: str
    cwd: str
    run_reason: ClassVar[RunReason] = RunReason.DEV_SERVER
    as_root: ClassVar[bool] = False


@dataclass(frozen=True)
class AgentStep:
    """Runs one turn of a coding agent.

    Attributes:
        executor: the choice as the session stores it. A worker checks it again, as an older version may have stored it.
        follow_up: whether the turn continues the session's conversation; if not, it begins a new one.
    """

    executor: ExecutorChoice
    prompt: str
    cwd: str
    follow_up: bool = False
    run_reason: ClassVar[RunReason] = RunReason.CODING_AGENT
    repo: ClassVar[None] = None
    as_root: ClassVar[bool] = False


@dataclass(frozen=True)
class PushStep:
    """Pushes the commits of one repository to a branch of its remote.

    Attributes:
        branch: the branch of the remote; None: a branch with the name of the workspace's branch.
        force: whether other commits of that branch may be replaced.
    """

    repo: str
    branch: str | None = None
    force: bool = False
    run_reason: ClassVar[RunReason] = RunReason.PUSH
    cwd: ClassVar[str] = ""
    as_root: ClassVar[bool] = False


@dataclass(frozen=True)
class ResetTarget:
    """The commit, given by its id or the beginning of its id, to which the clone of a repository is reset."""

    repo: str
    commit: str


@dataclass(frozen=True)
class ResetStep:
    """Resets clones of the workspace, each to one commit: all of them, or none.

    Attributes:
        discard_changes: whether uncommitted changes may be thrown away.
        drop_from: the execution from which on all are dropped when the reset completes; None: none is.
    """

    targets: tuple[ResetTarget, ...]
    discard_changes: bool = False
    drop_from: UUID | None = None
    run_reason: ClassVar[RunReason] = RunReason.RESET
    cwd: ClassVar[str] = ""
    as_root: ClassVar[bool] = False

    @property
    def repo(self) -> str | None:
        """Name of the repository; None if there are several."""
        return self.targets[0].repo if len(self.targets) == 1 else None


@dataclass(frozen=True)
class MergeStep:
    """Merges the commits of one repository into its target branch, or opens a pull request for that.

    Attributes:
        merge_id: the row of the merge; a retry names the same one.
        target_branch: branch of the remote.
        message: message of the commit, or title and description of the pull request.
    """

    merge_id: UUID
    repo: str
    target_branch: str
    kind: MergeKind
    method: MergeMethod
    message: str
    run_reason: ClassVar[RunReason] = RunReason.MERGE
    cwd: ClassVar[str] = ""
    as_root: ClassVar[bool] = False


@dataclass(frozen=True)
class RebaseStep:
    """Moves the commits of one clone onto the present commit of its target branch.

    Attributes:
        target_branch: branch of the remote.
    """

    repo: str
    target_branch: str
    run_reason: ClassVar[RunReason] = RunReason.REBASE
    cwd: ClassVar[str] = ""
    as_root: ClassVar[bool] = False


GitStep = PushStep | ResetStep | MergeStep | RebaseStep
Step = CloneStep | ScriptStep | DevServerStep | AgentStep | GitStep
