"""Bearer tokens: each is shown once, stored as a hash, and has an owner and scopes."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, bindparam, create_engine, func, insert, or_, select, update

from relay_core.domain.errors import Ambiguous, Candidate, InvalidInput, NotFound
from relay_core.domain.events import EventKind
from relay_core.domain.operations import OperationKind, SubjectKind
from relay_core.domain.short_id import MIN_DIGITS, id_range
from relay_core.domain.vocabulary import Scope
from relay_core.store import operations
from relay_core.store.operations import Subject
from relay_core.store.schema.tables import Token

PREFIX = "relay_"
"""Prefix by which secret scanners and people recognise a token of Relay."""

_PRINCIPAL = select(Token.owner, Token.scopes, Token.id).where(
    Token.token_hash == bindparam("hash"),
    Token.revoked_at.is_(None),
    or_(Token.expires_at.is_(None), Token.expires_at > func.now()),
)


@dataclass(frozen=True)
class Principal:
    """The client behind a request, as its token identifies it; queries return only rows that it may see.

    Attributes:
        owner: name that the client's rows have in `created_by`.
        scopes: `Scope` values.
        token_id: the token; None for a principal that was made without one.
    """

    owner: str
    scopes: frozenset[str]
    token_id: UUID | None = None

    @property
    def sees_all(self) -> bool:
        """Whether the client may see the workspaces and projects of other owners."""
        return Scope.ADMIN in self.scopes

    def may(self, scope: Scope) -> bool:
        """Return whether the client has ``scope``. `admin` includes all scopes; `runs:write` includes `runs:read`."""
        return bool(self.scopes & {scope, Scope.ADMIN}) or (scope is Scope.READ and Scope.WRITE in self.scopes)

    @property
    def only(self) -> str | None:
        """Owner to whose rows queries are limited; None: no limit."""
        return None if self.sees_all else self.owner


@dataclass(frozen=True)
class TokenInfo:
    """The data of a token, without its text."""

    id: UUID
    name: str
    owner: str
    scopes: Sequence[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


def create(
    connection: Connection,
    *,
    name: str,
    owner: str,
    scopes: Sequence[str],
    expires_at: datetime | None = None,
    by: str | None = None,
) -> tuple[TokenInfo, str]:
    """Insert a new token; return its row and its text, which is stored nowhere.

    Args:
        connection: one transaction.
        name: label by which people recognise the token.
        owner: owner of everything that is created with the token.
        scopes: `Scope` values.
        expires_at: when the token stops being valid; None: never.
        by: who creates it; told by its event. None: the owner of the server.

    Raises:
        InvalidInput: a scope that does not exist, or no scope, name or owner.
    """
    unknown = sorted(set(scopes) - set(Scope))
    if unknown or not scopes:
        raise InvalidInput(
            f"scopes must be some of {', '.join(Scope)}; got {', '.join(unknown) or 'none'}", field="scopes"
        )
    if not owner.strip() or not name.strip():
        raise InvalidInput("a token needs a name and an owner", field="owner")
    text = PREFIX + secrets.token_urlsafe(32)
    row = connection.execute(
        insert(Token)
        .values(
            name=name, owner=owner, scopes=list(dict.fromkeys(scopes)), token_hash=_hash(text), expires_at=expires_at
        )
        .returning(
            Token.id, Token.name, Token.owner, Token.scopes, Token.created_at, Token.expires_at, Token.revoked_at
        )
    ).one()
    _note(connection, row.id, owner, {"change": "created", "name": name, "by": by})
    return TokenInfo(*row), text


def _note(connection: Connection, token_id: UUID, owner: str, payload: Mapping[str, str | None]) -> None:
    """Append the event of a change of a token, which its owner may read."""
    subject = Subject(SubjectKind.TOKEN, str(token_id), owner)
    operations.record(connection, OperationKind.CREDENTIAL_CHANGE, subject, EventKind.CREDENTIAL_CHANGED, payload)


def create_token(database_url: str, owner: str, scopes: Sequence[str], name: str = "local") -> str:
    """Create a token and return its text.

    For a program that has only the URL of the database (the local stack).
    """
    database = create_engine(database_url)
    with database.begin() as connection:
        text = create(connection, name=name, owner=owner, scopes=scopes)[1]
    database.dispose()
    return text


def is_known(database_url: str, text: str) -> bool:
    """Return whether a token is valid.

    For a program that has only the URL of the database.
    """
    database = create_engine(database_url)
    with database.connect() as connection:
        known = find_principal(connection, text) is not None
    database.dispose()
    return known


def find_principal(connection: Connection, text: str) -> Principal | None:
    """Return the principal of a token's text; None if the token is unknown, expired or revoked."""
    row = connection.execute(_PRINCIPAL, {"hash": _hash(text)}).one_or_none()
    return Principal(row.owner, frozenset(row.scopes), row.id) if row else None


def list_tokens(connection: Connection) -> list[TokenInfo]:
    """Return all tokens, newest first, without their text."""
    columns = (Token.id, Token.name, Token.owner, Token.scopes, Token.created_at, Token.expires_at, Token.revoked_at)
    return [TokenInfo(*row) for row in connection.execute(select(*columns).order_by(Token.created_at.desc(), Token.id))]


def resolve(connection: Connection, text: str, field: str) -> UUID:
    """Return the id of the token that a whole id, or the first digits of one, stands for.

    Args:
        connection: any transaction.
        text: the id, or its first digits (`MIN_DIGITS` or more).
        field: path of the text in the request, for errors.

    Raises:
        InvalidInput: the text cannot be an id.
        Ambiguous: several tokens have ids that begin so; the error lists them.
        NotFound: no token has such an id.
    """
    ids = id_range(text)
    if ids is None:
        message = f"an id, or its first characters, is needed: {MIN_DIGITS} or more of 0-9 and a-f"
        raise InvalidInput(message, code="validation_failed", field=field)
    found = select(Token.id, Token.name, Token.created_at).where(Token.id.between(ids.first, ids.last))
    rows = connection.execute(found.order_by(Token.created_at.desc()).limit(20)).all()
    if not rows:
        raise NotFound(f"there is no token {ids.first if ids.is_whole else f'whose id begins with {text}'}")
    if len(rows) > 1:
        raise Ambiguous(text, [Candidate("token", row.id, row.name, row.created_at) for row in rows])
    found_id: UUID = rows[0].id
    return found_id


def revoke(connection: Connection, token_id: UUID, by: str | None = None) -> None:
    """Revoke a token: it is refused from now on. Revoking it again changes nothing.

    Args:
        connection: one transaction.
        token_id: the token.
        by: who revokes it; told by the event.

    Raises:
        NotFound: there is no such token.
    """
    valid = update(Token).where(Token.id == token_id, Token.revoked_at.is_(None)).values(revoked_at=func.now())
    row = connection.execute(valid.returning(Token.name, Token.owner)).one_or_none()
    if row is not None:
        _note(connection, token_id, row.owner, {"change": "revoked", "name": row.name, "by": by})
    elif connection.scalar(select(Token.id).where(Token.id == token_id)) is None:
        raise NotFound(f"there is no token {token_id}")


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
