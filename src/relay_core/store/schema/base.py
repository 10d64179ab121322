"""The base class of all tables, with the column types and constraints that several tables share."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Double, LargeBinary, Text, func
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Base class of all tables; maps Python types to column types."""

    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's way
        str: Text,
        int: BigInteger,
        float: Double,
        bytes: LargeBinary,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        list[str]: ARRAY(Text),
    }


def one_of(column: str, words: type[Any], name: str) -> CheckConstraint:
    """Return the constraint that a column holds one of the words of an enum."""
    allowed = ", ".join(f"'{word.value}'" for word in words)
    return CheckConstraint(f"{column} IN ({allowed})", name=name)


def created() -> Mapped[datetime]:
    """Return the column with the start time of the transaction that inserted the row."""
    return mapped_column(server_default=func.now())
