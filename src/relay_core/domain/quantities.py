"""Numbers with units, as people write limits: `2g` bytes, `10m` seconds."""

from collections.abc import Mapping

UNITS: Mapping[str, Mapping[str, int]] = {
    "bytes": {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40},
    "seconds": {"s": 1, "m": 60, "h": 3600, "d": 86400},
}
"""Last word of a limit's name (`bytes`, `seconds`) → unit → number of bytes or seconds in the unit."""
_MOST_CHARACTERS = 40


def quantity(name: str, text: str) -> float:
    """Return the value of a limit as a number: `2g` and `512MiB` as bytes, `10m` and `1.5h` as seconds.

    Args:
        name: name of the limit; its last word, `bytes` or `seconds`, decides which units it takes.
        text: the number, with or without a unit.

    Raises:
        ValueError: the text is not a number, or the limit does not take the unit; the message names its units.
    """
    units = UNITS.get(name.rpartition("_")[2], {})
    written = text.strip().lower()
    digits = written.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = written[len(digits) :]
    short = unit[:1] if name.endswith("_bytes") and unit in {unit[:1], f"{unit[:1]}b", f"{unit[:1]}ib"} else unit
    known = f" (units of it: {', '.join(units)})" if units else ""
    digits = "" if len(digits) > _MOST_CHARACTERS else digits  # Python refuses to read thousands of digits
    try:
        value = int(digits) if digits.lstrip("-").isdecimal() else float(digits)
        value *= units[short] if unit else 1
        return int(value) if value == int(value) else value
    except (ValueError, KeyError, OverflowError):
        shown = text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"
        raise ValueError(f"{shown!r} is no number for {name}{known}") from None
