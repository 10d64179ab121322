"""Shortened ids: an id may be given by its first characters, as people read it in a list."""

import re
from typing import NamedTuple
from uuid import UUID

MIN_DIGITS = 4
"""Fewest hexadecimal digits that stand for an id."""
DIGITS = 32
"""Hexadecimal digits of a whole id."""
PATTERN = rf"^[0-9a-fA-F]{{{MIN_DIGITS}}}[0-9a-fA-F-]{{0,32}}$"
"""Pattern of a text that may be an id or the beginning of one."""


class IdRange(NamedTuple):
    """The ids that begin with the same digits: from `first` to `last`, both included."""

    first: UUID
    last: UUID

    @property
    def is_whole(self) -> bool:
        """Whether the range contains one id only."""
        return self.first == self.last


def id_range(text: str) -> IdRange | None:
    """Return the ids that begin with the digits of ``text``, dashes apart; None if the text is no beginning of an id.

    A beginning has at least `MIN_DIGITS` digits; upper and lower case are equal.
    """
    digits = text.replace("-", "")
    if not re.fullmatch(PATTERN, text) or len(digits) > DIGITS:
        return None
    return IdRange(UUID(digits.ljust(DIGITS, "0")), UUID(digits.ljust(DIGITS, "f")))
