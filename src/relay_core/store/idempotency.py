"""`Idempotency-Key`: the first request with a key is carried out, and every copy of it gets the same answer.

The key is inserted in the transaction that carries the request out. A copy that arrives meanwhile waits at the primary
key until that transaction ends. Then it finds the answer or, after a rollback, is carried out itself.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg2.errors import LockNotAvailable
from sqlalchemy import Connection, delete, func, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import OperationalError

from relay_core.domain.errors import Conflict
from relay_core.store.schema.tables import IdempotencyKey

K = IdempotencyKey
FORGOTTEN_AT_ONCE = 1000
"""Most keys that one call of `forget_old` deletes."""
WAIT_SECONDS = 10
"""Seconds that a copy of a request waits for the first request to finish."""


@dataclass(frozen=True)
class CreatingRequest:
    """A request with an `Idempotency-Key`, reduced to the values by which a copy of it is recognised."""

    owner: str
    key: str
    hash: bytes
    """Result of `request_hash`."""


@dataclass(frozen=True)
class StoredAnswer:
    """HTTP status and body that the first request with a key got as its answer."""

    status: int
    body: dict[str, Any]


def request_hash(method: str, path: str, body: object) -> bytes:
    """Return the SHA-256 of method, path and body.

    The order of keys and the white space of a JSON body do not matter.
    """
    canonical = json.dumps([method, path, body], sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).digest()


def begin(connection: Connection, request: CreatingRequest, ttl_hours: int) -> StoredAnswer | None:
    """Reserve the key for this transaction, or return the answer that the first request with it got.

    Args:
        connection: the transaction that carries the request out.
        request: owner, key and hash of the request.
        ttl_hours: age at which a key is forgotten, so that it can be used again.

    Returns:
        The stored answer; None if this is the first request with the key, which the caller now carries out.

    Raises:
        Conflict: `idempotency_key_reused`: the key was used for another request; `idempotency_key_in_use`: the first
            request with this key did not finish within `WAIT_SECONDS`.
    """
    age = func.now() - text(f"interval '{int(ttl_hours)} hours'")
    mine = (K.owner == request.owner) & (K.key == request.key)
    taken = insert(K).values(owner=request.owner, key=request.key, request_hash=request.hash)
    try:
        connection.execute(text(f"SET LOCAL lock_timeout = '{WAIT_SECONDS}s'"))
        connection.execute(delete(K).where(mine, K.created_at < age))
        row = connection.execute(taken.on_conflict_do_nothing().returning(K.key)).one_or_none()
    except OperationalError as error:
        if not isinstance(error.orig, LockNotAvailable):
            raise
        raise _in_use() from error
    connection.execute(text("SET LOCAL lock_timeout = DEFAULT"))
    if row is not None:
        return None
    found = connection.execute(select(K.request_hash, K.status, K.body).where(mine)).one_or_none()
    if found is None:
        raise _in_use()  # another transaction deleted the old key at this moment
    if found.request_hash != request.hash:
        raise Conflict(
            "this Idempotency-Key was used for another request; use a new key", code="idempotency_key_reused"
        )
    return StoredAnswer(found.status, found.body)


def finish(connection: Connection, request: CreatingRequest, status: int, body: Mapping[str, Any]) -> None:
    """Store the answer of the first request, for copies of it."""
    mine = (K.owner == request.owner) & (K.key == request.key)
    connection.execute(update(K).where(mine).values(status=status, body=dict(body)))


def forget_old(connection: Connection, ttl_hours: int) -> int:
    """Delete up to `FORGOTTEN_AT_ONCE` keys older than ``ttl_hours``, the oldest first.

    Returns:
        Number of deleted keys.
    """
    age = func.now() - text(f"interval '{int(ttl_hours)} hours'")
    oldest = select(K.owner, K.key).where(K.created_at < age).order_by(K.created_at).limit(FORGOTTEN_AT_ONCE)
    found = connection.execute(oldest.with_for_update(skip_locked=True)).all()
    if not found:
        return 0
    return connection.execute(delete(K).where(tuple_(K.owner, K.key).in_([tuple(row) for row in found]))).rowcount


def _in_use() -> Conflict:
    message = "the first request with this Idempotency-Key is still being worked on; ask again in a moment"
    return Conflict(message, code="idempotency_key_in_use")
