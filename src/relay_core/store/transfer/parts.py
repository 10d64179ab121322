"""Parts of workspaces that were uploaded for an import; the import deletes them, and old ones are forgotten."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from relay_core.domain.errors import Conflict, InvalidInput, NotFound
from relay_core.store.schema.tables import TransferPart
from relay_core.store.tokens import Principal
from relay_core.store.transfer.codec import MOST_BYTES, digest

P = TransferPart
FORGET_HOURS = 24.0
"""Hours after which a part that no import has taken is deleted."""
MOST_BYTES_OF_OWNER = 8 << 30
"""Most bytes of all parts of an owner that wait for an import."""
View = dict[str, Any]


def store(connection: Connection, content: bytes, principal: Principal) -> View:
    """Store a part of the principal; the same bytes again change nothing but its age.

    Raises:
        InvalidInput: `part_too_large`.
        Conflict: `too_many_parts`.
    """
    if len(content) > MOST_BYTES:
        message = f"the part has {len(content)} bytes; at most {MOST_BYTES} are taken"
        raise InvalidInput(message, code="part_too_large", field="data")
    waiting = select(func.coalesce(func.sum(P.size_bytes), 0)).where(P.created_by == principal.owner)
    if connection.execute(waiting).scalar_one() + len(content) > MOST_BYTES_OF_OWNER:
        message = f"parts of {MOST_BYTES_OF_OWNER} bytes wait for an import; finish it, or wait {FORGET_HOURS:g} hours"
        raise Conflict(message, code="too_many_parts")
    sha256 = digest(content)
    values = {"created_by": principal.owner, "sha256": sha256, "size_bytes": len(content), "content": content}
    made = insert(P).values(values)
    same = made.on_conflict_do_update(index_elements=[P.created_by, P.sha256], set_={"created_at": func.now()})
    connection.execute(same)
    return {"sha256": sha256, "size_bytes": len(content)}


def get(connection: Connection, sha256: str, principal: Principal) -> View:
    """Return what is known of a part of the principal that waits for an import.

    Raises:
        NotFound: there is none with these bytes.
    """
    mine = (P.created_by == principal.owner) & (P.sha256 == sha256)
    row = connection.execute(select(P.sha256, P.size_bytes).where(mine)).mappings().one_or_none()
    if row is None:
        raise NotFound("there is no such part; upload it")
    return dict(row)


def content(connection: Connection, sha256: str, owner: str) -> bytes:
    """Return the bytes of a part of an owner.

    Raises:
        Conflict: `import_parts_missing`.
    """
    found = connection.scalar(select(P.content).where(P.created_by == owner, P.sha256 == sha256))
    if found is None:
        message = f"the part {sha256} of the workspace is not here; upload it, then import again"
        raise Conflict(message, code="import_parts_missing")
    return bytes(found)


def remove(connection: Connection, digests: Sequence[str], owner: str) -> None:
    """Delete parts of an owner."""
    connection.execute(delete(P).where(P.created_by == owner, P.sha256.in_(digests)))


def forget_old(connection: Connection, hours: float = FORGET_HOURS) -> int:
    """Delete the parts that wait for an import for longer than ``hours``; return how many."""
    old = P.created_at < func.now() - func.make_interval(0, 0, 0, 0, 0, 0, hours * 3600)
    return connection.execute(delete(P).where(old)).rowcount
