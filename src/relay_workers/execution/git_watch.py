"""Looks whether the clones of this node are where Relay's executions left them.

It reads files of git and runs nothing (`Git.heads`). It changes no file: what differs is stored and evented.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

import structlog

from relay_core.domain.errors import StepFailed
from relay_core.domain.git.watched_head import SeenHead
from relay_core.domain.logs.masking import SecretMask
from relay_core.secret_box import SecretBox
from relay_core.store.outage import is_away
from relay_core.store.transaction import Database
from relay_core.store.workspaces import git_watch, workspace_row
from relay_core.store.workspaces.git_watch import Watched
from relay_workers.execution.secret_values import to_mask
from relay_workers.execution.workspace import workspace_dir
from relay_workers.git.port import Git, Head

log = structlog.get_logger(__name__)

_UNMASKED = "HEAD cannot be read; why is not shown, as the workspace's secrets cannot be masked"
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
        secrets: decrypts the values to mask.
        on_missing: called once in a look if a workspace has no directory where its row says; it may have been moved.
    """

    node_id: str
    data_dir: Path
    database: Database
    git: Git
    secrets: SecretBox
    on_missing: Callable[[], None]

    def sweep(self) -> None:
        """Look at every workspace of the node that no step uses; an error of one is logged, and the next follows."""
        with self.database.connect() as connection:
            watched = git_watch.of_node(connection, self.node_id)
        missing = False
        for workspace in watched:
            try:
                missing = not self._look(workspace) or missing
            except Exception:
                log.exception("the clones cannot be compared", workspace_id=str(workspace.workspace_id))
        if missing:
            self.on_missing()

    def look(self, execution_id: UUID) -> None:
        """Look at the workspace of an execution, unless a step uses it: before its claim, or before its end.

        An error of the look is logged: it must not keep an execution from its claim or its end. Only if the database is
        away, the error is raised, as the claim or the end would fail, too.
        """
        with self.database.single_statements() as connection:
            watched = git_watch.of_execution(connection, self.node_id, execution_id)
        if watched is None:
            return
        try:
            if not self._look(watched):
                self.on_missing()  # if it is nowhere, the next step says so
        except Exception as error:
            if is_away(error):
                raise
            log.exception("the clones cannot be compared", execution_id=str(execution_id))

    def _look(self, watched: Watched) -> bool:
        """Look at a workspace; return False if its directory is not there."""
        directory = workspace_dir(self.data_dir, watched.workspace_id)
        if not directory.is_dir():
            return False
        names = {repo.repo_id: repo.name for repo in watched.repos}
        heads = self.git.heads(directory, names.values())
        seen = {one: _seen(heads[name]) for one, name in names.items()}
        if any(repo.is_news(seen[repo.repo_id]) for repo in watched.repos):
            shown = self._masked(watched.workspace_id, seen)
            with self.database.begin() as connection:
                git_watch.settle(connection, self.node_id, watched, shown)
        return True

    def _masked(self, workspace_id: UUID, seen: Mapping[UUID, SeenHead]) -> Mapping[UUID, SeenHead]:
        """Return what was seen with secrets masked in its texts, which name what a container has written."""
        if not any(head.problem for head in seen.values()):
            return seen
        with self.database.connect() as connection:
            row = workspace_row.load(connection, workspace_id)
        try:
            mask = SecretMask(to_mask(self.secrets, row)).text
        except StepFailed:  # the secrets cannot be masked
            return {one: replace(head, problem=head.problem and _UNMASKED) for one, head in seen.items()}
        return {one: replace(head, problem=head.problem and mask(head.problem)) for one, head in seen.items()}


def _seen(head: Head) -> SeenHead:
    return SeenHead(head.commit, head.missing, head.problem)
