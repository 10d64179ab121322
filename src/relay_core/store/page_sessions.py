"""Sessions of browsers on the page, and the one-time codes that begin them.

Both belong to a token: a session may do what its token may, and is over when the token is expired or revoked. The
texts of codes and sessions are random and long, so that a fast hash of them is enough.
"""

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, bindparam, delete, func, insert, or_, select, update

from relay_core.store.schema.tables import PageSession, SignInCode, Token
from relay_core.store.tokens import Principal, find_principal

CODE_LIFE = timedelta(minutes=10)
"""Time in which a one-time code must be used."""
SESSION_LIFE = timedelta(days=7)
"""Time after which a browser must sign in again."""


class NewCode(NamedTuple):
    """A one-time code; its text is stored nowhere."""

    text: str
    expires_at: datetime


def make_code(connection: Connection, token_id: UUID) -> NewCode:
    """Store a new one-time code of a token and return it; codes that are over are removed."""
    connection.execute(delete(SignInCode).where(SignInCode.expires_at < func.now()))
    code = secrets.token_urlsafe(24)
    row = insert(SignInCode).values(code_hash=_hash(code), token_id=token_id, expires_at=func.now() + CODE_LIFE)
    return NewCode(code, connection.execute(row.returning(SignInCode.expires_at)).scalar_one())


def sign_in_by_code(connection: Connection, code: str) -> str | None:
    """Use a code up, begin a session, and return the session's text; None if the code is unknown, used or over.

    Two requests with the same code begin one session: the code's row is deleted by one of them.
    """
    used = delete(SignInCode).where(SignInCode.code_hash == _hash(code), SignInCode.expires_at > func.now())
    token_id = connection.execute(used.returning(SignInCode.token_id)).scalar_one_or_none()
    return None if token_id is None else _begin(connection, token_id)


def sign_in_by_token(connection: Connection, token: str) -> str | None:
    """Begin a session and return its text; None if the token is unknown, expired or revoked."""
    principal = find_principal(connection, token)
    return None if principal is None or principal.token_id is None else _begin(connection, principal.token_id)


_PRINCIPAL = (
    select(Token.owner, Token.scopes, Token.id)
    .join(PageSession, PageSession.token_id == Token.id)
    .where(
        PageSession.session_hash == bindparam("hash"),
        PageSession.revoked_at.is_(None),
        PageSession.expires_at > func.now(),
        Token.revoked_at.is_(None),
        or_(Token.expires_at.is_(None), Token.expires_at > func.now()),
    )
)


def principal_of(connection: Connection, session: str) -> Principal | None:
    """Return the principal of a session's text; None if the session or its token is unknown, over or revoked."""
    row = connection.execute(_PRINCIPAL, {"hash": _hash(session)}).one_or_none()
    return Principal(row.owner, frozenset(row.scopes), row.id) if row else None


def sign_out(connection: Connection, session: str) -> None:
    """End a session, if it exists."""
    connection.execute(
        update(PageSession).where(PageSession.session_hash == _hash(session)).values(revoked_at=func.now())
    )


def _begin(connection: Connection, token_id: UUID) -> str:
    connection.execute(delete(PageSession).where(PageSession.expires_at < func.now()))
    session = secrets.token_urlsafe(32)
    row = insert(PageSession).values(token_id=token_id, session_hash=_hash(session))
    connection.execute(row.values(expires_at=func.now() + SESSION_LIFE))
    return session


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
