"""Clones of workspaces that a person has to look at."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from relay_core.domain.vocabulary import GitState
from relay_core.store.database import Connection
from relay_core.store.views import git_states


def troubles(connection: Connection, workspace_ids: Sequence[UUID]) -> list[dict[str, Any]]:
    """Return the clones of workspaces that are missing, or have commits that no execution made."""
    bad = {GitState.DIVERGED, GitState.MISSING}
    states = git_states.states_of(connection, workspace_ids)
    return [
        {**state, "workspace_id": workspace_id}
        for workspace_id in workspace_ids
        for state in states.get(workspace_id, ())
        if state["git_state"] in bad
    ]
