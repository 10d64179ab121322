"""Git remotes as rows of `repos`: one row for each owner and URL, shared by all of the owner's projects."""

from collections.abc import Iterable, Sequence
from uuid import UUID, uuid4

from sqlalchemy import Connection, bindparam, select
from sqlalchemy.dialects.postgresql import insert

from relay_core.domain.git.branch_name import repo_name_from_url
from relay_core.store.schema.tables import ProjectRepo, Repo

# The rows are parameters: a statement that contains rows is compiled each time.
_ADD = insert(Repo).on_conflict_do_nothing()
_LINK = insert(ProjectRepo).on_conflict_do_nothing()
_FOUND = select(Repo.path, Repo.id).where(
    Repo.created_by == bindparam("owner"), Repo.path.in_(bindparam("urls", expanding=True))
)


def ensure(connection: Connection, urls: Iterable[str], owner: str) -> dict[str, UUID]:
    """Return the ids of an owner's repos by URL; insert the rows that are missing.

    Rows are inserted in the order of their URLs, and existing rows are not written, so two transactions with the same
    repos cannot deadlock.
    """
    wanted = sorted(set(urls))
    rows = [
        {"id": uuid4(), "path": url, "name": name, "display_name": name, "created_by": owner}
        for url in wanted
        for name in [repo_name_from_url(url)]
    ]
    if not rows:
        return {}
    connection.execute(_ADD, rows)
    found = connection.execute(_FOUND, {"owner": owner, "urls": wanted})
    return {row.path: row.id for row in found}


def link(connection: Connection, project_id: UUID, repo_ids: Sequence[UUID]) -> None:
    """Add repos to a project; the scripts of repos that are in it already do not change."""
    rows = [{"project_id": project_id, "repo_id": repo_id} for repo_id in sorted(repo_ids)]
    if rows:
        connection.execute(_LINK, rows)
