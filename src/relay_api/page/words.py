"""Times, sizes and ids as people read them. No input or output."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

NONE = "\u2013"
"""A dash, in place of a value that is not known."""
_PHRASES = {
    r"in `env` or `secrets`": "as an environment variable or a secret",
    r"say `run_agent_again: true` to run it": "run it again with `relay retry --agent`",
    r"add a coding_agent step to the workspace instead": "run another agent there: `relay step add ID --agent PROMPT`",
    r"give one in `script`": "give it one",
    r"give one that holds it as `image`": "name an image that holds it",
    r"give `image` as (\S+)": r"run it with the image \1",
    r"`limits\.(\w+?)(?:_bytes|_seconds)?`": r"the limit \1",
    r"(?<![\w/.])`?project_id`?(?!\w)": "the project",
    r"(?<![\w/.])`?target_branch`?(?!\w)": "the target branch",
}
"""Pattern of words about fields of the API's requests → words for a person, who sees no fields here."""
_UNSEEN = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\x00-\x08\x0b-\x1f\x7f-\x9f]")


def age(moment: datetime | None, now: datetime | None = None) -> str:
    """Return the time since a moment in its largest unit: `12 s`, `5 min`, `3 h`, `2 d`. Empty for None."""
    if moment is None:
        return ""
    seconds = max(0.0, ((now or datetime.now(UTC)) - moment).total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return f"{int(seconds)} s ago"


def took(seconds: float | None) -> str:
    """Return a duration: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 7 min`. A dash for None."""
    if seconds is None:
        return NONE
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(count: float | None) -> str:
    """Return a number of bytes: `812 B`, `1.5 MiB`. A dash for None."""
    if count is None:
        return NONE
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def usage(numbers: Mapping[str, Any] | None) -> str:
    """Return what an agent used, as it counts: `input tokens 1,200 · cost $0.0123 · took 1.4 s`. Empty for None."""
    parts = []
    for name, value in (numbers or {}).items():
        if not isinstance(value, int | float):
            parts.append(f"{name} {value}")
        elif name == "duration_ms":
            parts.append(f"took {took(value / 1000)}")
        elif name == "cost_usd":
            parts.append(f"cost ${value:.4f}")
        else:
            parts.append(f"{name.replace('_', ' ')} {value:,.10g}")
    return " · ".join(parts)


def short_id(value: UUID | str) -> str:
    """Return the first eight characters of an id or commit, which commands accept in its place."""
    return str(value)[:8]


def moment(value: datetime | None) -> str:
    """Return a time in UTC to the second. Empty for None."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if value else ""


def plain(text: Any) -> str:
    """Return a text with its invisible characters shown as code points, so that it cannot look like another text.

    Among them are the characters that change the direction of a line. Newlines and tabs stay.
    """
    return _UNSEEN.sub(lambda found: f"<U+{ord(found[0]):04X}>", str(text))


def told(text: Any) -> str:
    """Return a message of Relay in the words of the page, and as `plain` shows it."""
    found = str(text)
    for pattern, words in _PHRASES.items():
        found = re.sub(pattern, words, found)
    return plain(found)


def repo_name(url: str) -> str:
    """Return the last two parts of a repository's URL, which is how people name it."""
    parts = [part for part in re.split(r"[/:]", url.removesuffix("/").removesuffix(".git")) if part]
    return plain("/".join(parts[-2:]) or url)


def storable(text: str) -> str:
    """Return the text with lone surrogates, which UTF-8 cannot encode, replaced."""
    return text.encode("utf-8", "replace").decode()
