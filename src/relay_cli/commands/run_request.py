"""Turn the values of `relay run`'s options into the fields of the request; raise an error for unusable values."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

from relay_cli.errors import CommandFailed
from relay_cli.local_repo import find_root, uncommitted, uncommitted_warning
from relay_core.console.output import note
from relay_core.domain.limits import Limits

_UNITS = {
    "bytes": {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40},
    "seconds": {"s": 1, "m": 60, "h": 3600, "d": 86400},
}
"""Last word of a limit's name (`bytes`, `seconds`) → unit → number of bytes or seconds in the unit."""
_LIMITS = tuple(field.name for field in fields(Limits))


def set_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields without those that are None or an empty dict, so that the API's defaults apply to these."""
    return {name: value for name, value in fields.items() if value not in (None, {})}


def repositories(
    repos: Sequence[str], given: Mapping[str, Any], *, setup_as_root: bool, warn: bool
) -> list[dict[str, Any]]:
    """Return the field `repos` of the request.

    Args:
        repos: URLs or paths.
        given: fields that all of them get.
        setup_as_root: whether the setup script runs as root.
        warn: whether to warn of uncommitted work in repositories on this machine.

    Raises:
        CommandFailed: a repository cannot be used, or there is no setup script that could run as root.
    """
    if setup_as_root and given.get("setup_script") is None:
        raise CommandFailed("--setup-as-root says how --setup runs; give --setup, too", 2)
    made = set_fields({**given, "setup_as_root": setup_as_root or None})
    return [{"url": remote(repo, warn=warn), **made} for repo in repos]


def remote(text: str, *, warn: bool = True) -> str:
    """Return the URL of a repository that is given as a path or a URL: a path becomes a file:// URL.

    A path in a repository stands for the whole repository.

    Args:
        text: the path or URL.
        warn: whether to print a warning if the repository has uncommitted work.

    Raises:
        CommandFailed: the text looks like a path and does not exist, the path is not UTF-8, or is in no repository.
    """
    if "://" in text:
        return text
    path = Path(text).expanduser()
    if path.exists():
        return f"file://{_quoted(_root(path.resolve(), warn=warn))}"
    if ":" not in text or text.startswith(("/", ".", "~")):  # git reads host:path as a URL for ssh
        raise CommandFailed(f"there is no directory {text}; --repo takes a path or a URL", 2)
    return text


def _root(path: Path, *, warn: bool) -> Path:
    root = find_root(path)
    if root is None:
        raise CommandFailed(f"{path} is in no git repository; --repo takes a path in one, or a URL", 2)
    if warn and (warning := uncommitted_warning(root, uncommitted(root))):
        note(warning)
    return root


def _quoted(path: Path) -> str:
    try:
        return quote(str(path))
    except UnicodeEncodeError:
        raise CommandFailed(f"the path {str(path)!r} is not UTF-8; the API takes no such path", 2) from None


def pairs(words: list[str], option: str) -> dict[str, str]:
    """Return the values by name from texts of the form NAME=VALUE.

    Args:
        words: the texts that were given for the option.
        option: name of the option, for the error message.

    Raises:
        CommandFailed: a text has no name or no ``=``.
    """
    values = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise CommandFailed(f"{option} takes NAME=VALUE; got {word!r}", 2)
        values[name] = value
    return values


def variables(words: list[str], option: str) -> dict[str, Any]:
    """Return the values by name from texts NAME=VALUE or NAME; NAME alone takes the value from this environment.

    A value that is taken from the environment does not appear in the machine's list of processes.

    Args:
        words: the texts that were given for the option.
        option: name of the option, for the error message.

    Raises:
        CommandFailed: a text has no name, or names a variable that is not set.
    """
    missing = [word for word in words if "=" not in word and word not in os.environ]
    if missing:
        why = f"{', '.join(missing)} is not set in this environment"
        raise CommandFailed(f"{option} takes NAME=VALUE, or NAME for a variable that is set here; {why}", 2)
    return pairs([word if "=" in word else f"{word}={os.environ[word]}" for word in words], option)


def environment(env: list[str], secret: list[str], plain: list[str]) -> dict[str, Any]:
    """Return the field `env` of the request.

    Args:
        env: texts given with --env; the API decides by name and value whether a value is a secret.
        secret: texts given with --env-secret; their values are secrets.
        plain: texts given with --env-plain; their values are not secrets.

    Raises:
        CommandFailed: a text cannot be used, or a name is given with two of the options.
    """
    found: dict[str, Any] = variables(env, "--env")
    for words, option, is_secret in ((secret, "--env-secret", True), (plain, "--env-plain", False)):
        for name, value in variables(words, option).items():
            if name in found:
                raise CommandFailed(f"{name} is given twice; use one of --env, --env-secret and --env-plain", 2)
            found[name] = {"value": value, "secret": is_secret}
    return found


def secret_names(words: list[str]) -> dict[str, str]:
    """Return the field `secrets` of the request: environment variable → name of the secret.

    Args:
        words: the texts that were given with --secret: NAME, or NAME=VARIABLE.

    Raises:
        CommandFailed: two texts give the same variable.
    """
    names: dict[str, str] = {}
    for word in words:
        name, _, variable = word.partition("=")
        if (variable or name) in names:
            raise CommandFailed(f"--secret gives {variable or name} twice", 2)
        names[variable or name] = name
    return names


def limits(words: list[str]) -> dict[str, float]:
    """Return the field `limits` of the request, from texts of the form NAME=NUMBER.

    The unit at the end of a limit's name may be left out: `memory=2g`, `timeout=10m`.

    Raises:
        CommandFailed: a text has no name, the name is unknown, or its value is not a number with a unit of that limit.
    """
    return {_limit_name(name): quantity(_limit_name(name), value) for name, value in pairs(words, "--limit").items()}


def _limit_name(text: str) -> str:
    name = text.strip().lower().replace("-", "_")
    found = next((known for known in _LIMITS if known in {name, f"{name}_bytes", f"{name}_seconds"}), None)
    if found is None:
        short = (known.removesuffix("_bytes").removesuffix("_seconds") for known in _LIMITS)
        raise CommandFailed(f"--limit knows no {text!r}; the limits are {', '.join(short)}", 2)
    return found


def quantity(name: str, text: str) -> float:
    """Return the value of a limit as a number: `2g` and `512MiB` as bytes, `10m` and `1.5h` as seconds.

    Args:
        name: name of the limit; its last word, `bytes` or `seconds`, decides which units it takes.
        text: the number, with or without a unit.

    Raises:
        CommandFailed: the text is not a number, or the limit does not take the unit.
    """
    units = _UNITS.get(name.rpartition("_")[2], {})
    digits = text.strip().lower().rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = text.strip().lower()[len(digits) :]
    short = unit[:1] if name.endswith("_bytes") and unit in {unit[:1], f"{unit[:1]}b", f"{unit[:1]}ib"} else unit
    try:
        value = int(digits) if digits.lstrip("-").isdecimal() else float(digits)
        value *= units[short] if unit else 1
        return int(value) if value == int(value) else value
    except (ValueError, KeyError, OverflowError):
        known = f" (units of it: {', '.join(units)})" if units else ""
        raise CommandFailed(f"--limit takes NAME=NUMBER; {text!r} is no number for {name}{known}", 2) from None
