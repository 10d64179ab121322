"""Looks whether the clones of this node are where Relay's executions left them.

It reads files of git and runs nothing (`Git.heads`). It changes no file: what differs is stored and evented.
"""

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import structlog

from relay_core.domain.errors import RelayError
from relay_core.domain.git.watched_head import SeenHead
from relay_core.store.transaction import Database
from relay_core.store.workspaces import git_watch
from relay_core.store.workspaces.git_watch import Watched
from relay_workers.execution.workspace import workspace_dir
from relay_workers.git.port import Git, Head

log = structlog.get_logger(__name__)

LOOK_SECONDS = 30.0
"""Seconds between two looks at the clones of idle workspaces."""


@dataclass(frozen=True)
class GitWatch:
    """Compares the clones of one node with what was recorded of them.

    Attributes:
        node_id: the node.
        data_dir: its data directory.
        database: stores what was recorded and what is found.
        git: reads HEAD.
    """

    node_id: str
    data_dir: Path
    database: Database
    git: Git

    def sweep(self) -> None:
        """Look at every workspace of the node that no step uses."""
        with self.database.connect() as connection:
            watched = git_watch.of_node(connection, self.node_id)
        for workspace in watched:
            self._look(workspace)

    def look(self, execution_id: UUID) -> None:
        """Look at the workspace of an execution, unless a step uses it: before its claim, or before its end.

        An error of the look is logged: it must not keep an execution from its claim or its end.
        """
        with self.database.single_statements() as connection:
            watched = git_watch.of_execution(connection, self.node_id, execution_id)
        if watched is None:
            return
        try:
            self._look(watched)
        except (RelayError, OSError) as error:
            log.warning("the clones cannot be compared", execution_id=str(execution_id), error=str(error))

    def _look(self, watched: Watched) -> None:
        directory = workspace_dir(self.data_dir, watched.workspace_id)
        if not directory.is_dir():  # the next step, or the sweep of anchors, says that all of it is gone
            return
        names = {repo.repo_id: repo.name for repo in watched.repos}
        heads = self.git.heads(directory, names.values())
        seen = {one: _seen(heads[name]) for one, name in names.items()}
        if any(repo.is_news(seen[repo.repo_id]) for repo in watched.repos):
            with self.database.begin() as connection:
                git_watch.settle(connection, self.node_id, watched, seen)


def _seen(head: Head) -> SeenHead:
    return SeenHead(head.commit, head.missing, head.problem)
