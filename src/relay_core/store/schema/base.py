"""The base of all tables, and columns and rules that several tables share."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, DateTime, LargeBinary, Text, func
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Base of all tables; maps Python types to column types."""

    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's way
        str: Text,
        int: BigInteger,
        bytes: LargeBinary,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        list[str]: ARRAY(Text),
    }


def one_of(column: str, words: type[Any], name: str) -> CheckConstraint:
    """The rule that a column holds one of the words of an enum."""
    allowed = ", ".join(f"'{word.value}'" for word in words)
    return CheckConstraint(f"{column} IN ({allowed})", name=name)


def created() -> Mapped[datetime]:
    """The column with the time of the row's transaction."""
    return mapped_column(server_default=func.now())
