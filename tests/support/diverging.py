"""A workspace on a real node whose agent has ended, a stranger who commits in its clone, and looks at it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import select

from relay_core.domain.events import EventKind
from relay_core.domain.vocabulary import RunReason
from relay_core.store.schema.tables import Event
from relay_core.store.views.git_states import git_state
from relay_workers.execution.assembly import make_git_watch
from tests.support.git_bench import git
from tests.support.worker_fixtures import ME, Node


def prepared(node: Node, **options: Any) -> UUID:
    """A workspace whose agent has committed and ended."""
    workspace = node.submit(command="git commit -q --allow-empty -m mine", **options)
    ended = node.run(node.chain(workspace, RunReason.CODING_AGENT)["id"])
    assert ended["status"] == "completed", ended["error_reason"]
    return workspace


def clone_of(node: Node, workspace: UUID) -> Path:
    return node.context.settings.data_dir / "workspaces" / str(workspace) / "repos" / node.repo.name


def commit_by_hand(node: Node, workspace: UUID) -> str:
    """A commit that no execution makes; its id."""
    clone = clone_of(node, workspace)
    (clone / "by-hand").write_text("not by Relay\n")
    safe = ("-c", f"safe.directory={clone}", "-c", "user.name=s", "-c", "user.email=s@example.org")
    git(clone, *safe, "add", "by-hand")
    git(clone, *safe, "commit", "-q", "--allow-empty", "-m", "by hand")
    return git(clone, *safe, "rev-parse", "HEAD")


def look(node: Node) -> None:
    """As the node's clock does every 30 s."""
    make_git_watch(node.context).sweep()


def state(node: Node, workspace: UUID) -> dict[str, Any]:
    with node.db.connect() as connection:
        return git_state(connection, workspace, ME)


def found(node: Node, workspace: UUID) -> list[dict[str, Any]]:
    """Payloads of the events about the git state, in order."""
    of_state = (Event.workspace_id == workspace) & (Event.kind == EventKind.WORKSPACE_GIT_STATE_CHANGED)
    with node.db.connect() as connection:
        return list(connection.scalars(select(Event.payload).where(of_state).order_by(Event.workspace_seq)))


def files(directory: Path) -> Iterator[tuple[str, bytes, int]]:
    """Every file below a directory, with content and time of its last change."""
    for path in sorted(directory.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield str(path.relative_to(directory)), path.read_bytes(), path.stat().st_mtime_ns
