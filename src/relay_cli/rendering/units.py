"""Numbers with units, short enough for a table: durations, ages, bytes, counts, tokens and money."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

_TIME_UNITS = ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s"))
_BYTE_UNITS = ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)


def duration(seconds: float) -> str:
    """Return a duration with at most two units: `0.4s`, `33s`, `2m05s`, `1h02m`, `3d04h`."""
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    for size, unit, small_size, small_unit in _TIME_UNITS:
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // small_size:02d}{small_unit}"
    return f"{whole}s"


def age(seconds: float) -> str:
    """Return the time since something happened, in its largest unit: `5s`, `12m`, `3h`, `2d`."""
    whole = max(0, int(seconds))
    for size, unit, _, _ in _TIME_UNITS:
        if whole >= size:
            return f"{whole // size}{unit}"
    return f"{whole}s"


def byte_count(count: float) -> str:
    """Return a number of bytes in the largest unit of which it has at least one: `512 MiB`, `1.5 GiB`, `12 bytes`."""
    for unit, size in _BYTE_UNITS:
        if count >= size:
            return f"{count / size:.1f}".removesuffix(".0") + f" {unit}"
    return plural(int(count), "byte")


def plural(count: int, noun: str) -> str:
    """Return a count with its noun, in the plural unless the count is 1: `1 file`, `1,200 files`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def money(dollars: float) -> str:
    """Return an amount in dollars: with two decimals, or with four if it is less than one dollar."""
    return f"${dollars:.2f}" if dollars >= 1 else f"${dollars:.4f}"


def moment(timestamp: str) -> datetime:
    """Return a timestamp of the API as a time with its zone."""
    return datetime.fromisoformat(timestamp)


def seconds_between(earlier: str, later: str | None, now: datetime) -> float:
    """Return the seconds from one timestamp to another; to ``now`` if the later one is None."""
    end = moment(later) if later else now
    return (end - moment(earlier)).total_seconds()


def local_time(timestamp: str) -> str:
    """Return a timestamp of the API in local time, without fractions of a second."""
    return moment(timestamp).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def usage_text(usage: Mapping[str, Any] | None) -> str | None:
    """Return tokens and cost; None if the agent reported neither."""
    if not usage:
        return None
    sent = sum(int(usage.get(name) or 0) for name in ("input_tokens", "cache_creation_input_tokens"))
    cached = int(usage.get("cache_read_input_tokens") or 0)
    received = sum(int(usage.get(name) or 0) for name in ("output_tokens", "reasoning_tokens"))
    tokens = f"{plural(sent, 'token')} in{f' (and {cached:,} cached)' if cached else ''}, {received:,} out"
    parts = [tokens] if sent or received or cached else []
    return " · ".join([*parts, *([money(usage["cost_usd"])] if usage.get("cost_usd") is not None else [])]) or None
