"""Checks the values of a client's JSON for what Postgres cannot store as `jsonb`."""

import math
from collections.abc import Mapping


def fault_of(value: object) -> str | None:
    """Return what of a JSON value cannot be stored, in words; None if all can.

    Postgres refuses the character NUL, half of a surrogate pair, and numbers that JSON itself does not have, though
    Python reads them (`NaN`, `Infinity`, and `1e999`).
    """
    due = [value]
    while due:
        found = due.pop()
        if isinstance(found, str):
            if fault := _fault_of_text(found):
                return fault
        elif isinstance(found, float):
            if not math.isfinite(found):
                return "a number that is not finite"
        elif isinstance(found, Mapping):
            due += [*found.keys(), *found.values()]
        elif isinstance(found, list | tuple):
            due += found
    return None


def _fault_of_text(text: str) -> str | None:
    if "\0" in text:
        return "a text with the character NUL"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "a text with half of a surrogate pair"
    return None
