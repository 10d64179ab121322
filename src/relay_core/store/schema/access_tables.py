"""Tables of tokens, sessions of the page, and idempotency keys."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from relay_core.store.schema.base import Base, created


class Token(Base):
    """A bearer token. Only its SHA-256 is stored: a token has 256 random bits, so no slow hash is needed."""

    __tablename__ = "tokens"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    name: Mapped[str]
    owner: Mapped[str]
    scopes: Mapped[list[str]]
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    created_at: Mapped[datetime] = created()
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class IdempotencyKey(Base):
    """The answer to the first request with an `Idempotency-Key` of an owner, for copies of that request.

    `status` and `body` are null until the request is answered.
    """

    __tablename__ = "idempotency_keys"

    owner: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_hash: Mapped[bytes]
    """SHA-256 of method, path and body; another request with the same key is refused."""
    status: Mapped[int | None]
    body: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = created()

    __table_args__ = (Index("idempotency_keys_created", "created_at"),)


class SignInCode(Base):
    """A code that signs a browser in once, for the token with which it was requested; only its SHA-256 is stored."""

    __tablename__ = "sign_in_codes"

    code_hash: Mapped[bytes] = mapped_column(primary_key=True)
    token_id: Mapped[UUID] = mapped_column(ForeignKey("tokens.id"))
    created_at: Mapped[datetime] = created()
    expires_at: Mapped[datetime]


class PageSession(Base):
    """A browser that is signed in on the page; only the SHA-256 of the value in its cookie is stored.

    It may do what its token may, and ends with it.
    """

    __tablename__ = "page_sessions"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    token_id: Mapped[UUID] = mapped_column(ForeignKey("tokens.id"), index=True)
    session_hash: Mapped[bytes] = mapped_column(unique=True)
    created_at: Mapped[datetime] = created()
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
