"""The steps of a run's plan, before they have a row: the work of one execution, by kind.

Every kind has `run_reason`, `repo` (name of the repository whose script it runs, or None), `cwd` (directory below
``/workspace``) and `as_root`, so code that handles all kinds need not ask for the type.
"""

from dataclasses import dataclass
from typing import ClassVar

from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.vocabulary import RunReason


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


Step = CloneStep | ScriptStep | DevServerStep | AgentStep
