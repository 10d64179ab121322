"""Refuses the commit of what a step wrote outside of its workspace's scope (`relay_core.domain.scope`)."""

from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from relay_core.domain.errors import Conflict
from relay_core.domain.events import EventKind
from relay_core.domain.scope import Scope
from relay_core.store.delegations import scopes
from relay_core.store.executions.finish import EvidenceEvent
from relay_core.store.transaction import Database
from relay_core.store.workspaces.workspace_row import WorkspaceRepoRow
from relay_workers.git.port import AfterState, AfterStateRequest, Git

_NOTHING = Scope(())
_PATHS_TOLD = 20
"""Most paths that an event names."""


def scope_of(database: Database, workspace_id: UUID) -> Scope | None:
    """Return what a workspace may write; None if that is everything.

    A delegation that was made while the step ran counts, so what was read before the step is too old. If a record that
    decides about it cannot be read, the workspace may write nothing.
    """
    try:
        with database.connect() as connection:
            if not scopes.concern(connection, workspace_id):
                return None
            found = scopes.effective(connection, workspace_id)
    except Conflict:
        return _NOTHING
    return found if found.restricted else None


@dataclass(frozen=True)
class Recorded:
    """The recorded state of a clone, and the event about what was refused; None: nothing was."""

    state: AfterState
    refused: EvidenceEvent | None = None


def record_within(git: Git, request: AfterStateRequest, scope: Scope | None, repo: WorkspaceRepoRow) -> Recorded:
    """Record the state of a clone; commit its changes as requested only if all of them are in the scope.

    Files are left as they are, and so are commits that the step itself has made.
    """
    if scope is None:
        return Recorded(git.after_state(request))
    state = git.after_state(replace(request, commit_message=None))
    paths = None if state.pinned_commit is None else git.changed_paths(request, state.pinned_commit)
    outside = None if paths is None else scope.outside(repo.repo_id, paths)
    if outside == []:
        return Recorded(git.after_state(request) if request.commit_message is not None else state)
    if outside is None and not state.dirty:
        return Recorded(state)
    return Recorded(state, (EventKind.EXECUTION_WRITE_REFUSED, _payload(request, repo.name, outside)))


def _payload(request: AfterStateRequest, repo: str, outside: list[str] | None) -> dict[str, Any]:
    if outside is None:
        return {"repo": repo, "paths": [], "message": "the changes could not be compared with the scope: no commit"}
    paths = [request.mask.text(path) for path in outside[:_PATHS_TOLD]]
    message = f"{len(outside)} changed files are outside of the workspace's scope: Relay commits none of the changes"
    return {"repo": repo, "paths": paths, "message": message}


def with_notices(notices: list[str], prompt: str) -> str:
    """Return a prompt that begins with notices."""
    return "\n\n".join([*notices, prompt])
