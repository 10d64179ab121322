"""Session profiles: named templates of sessions and terminals, which the operator writes into a TOML file.

A table for each profile::

    [review]
    description = "Reads, and changes nothing"
    image = "relay-claude-code:latest"
    executor = { name = "claude-code", variant = "plan" }

    [shell]
    shell = "bash"
    columns = 120
    rows = 40
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from relay_core.domain.agents.executors import FIELDS, executor_kind
from relay_core.domain.errors import InvalidInput

SHELLS = ("bash", "zsh", "sh")
MOST_CELLS = 1000
"""Most columns or rows of a terminal."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,511}")
_EXECUTOR = tuple(name for name in FIELDS if name != "env")


@dataclass(frozen=True)
class SessionProfile:
    """A template. A value that the request gives itself comes before that of the profile.

    Attributes:
        name: by which requests name it.
        description: a sentence for people.
        image: image of the workspace; it comes before that of a job file and of the project.
        executor: fields of `ExecutorChoice`; they count as if the request had given them.
        shell: program of a terminal; None: the first of `SHELLS` that the image has.
        columns: width of a new terminal.
        rows: height of a new terminal.
    """

    name: str
    description: str = ""
    image: str | None = None
    executor: Mapping[str, Any] = field(default_factory=dict)
    shell: str | None = None
    columns: int = 80
    rows: int = 24


SessionProfiles = Mapping[str, SessionProfile]


def parse(text: str) -> SessionProfiles:
    """Return the profiles in the text of a TOML file by their names, in the order of the file.

    Raises:
        InvalidInput: the text is no TOML, or a profile in it is wrong; `field` is the place (`review.image`).
    """
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"not TOML: {error}", field="profiles") from error
    return {name: _checked(name, fields) for name, fields in given.items()}


def find(profiles: SessionProfiles, name: str) -> SessionProfile:
    """Return a profile by its name.

    Raises:
        InvalidInput: `profile_unknown`; the message names those that there are.
    """
    found = profiles.get(name)
    if found is None:
        known = f"there are: {', '.join(profiles)}" if profiles else "this server has none"
        raise InvalidInput(f"there is no session profile {name!r}; {known}", code="profile_unknown", field="profile")
    return found


def _checked(name: str, given: Any) -> SessionProfile:
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"{name!r} cannot be a profile's name (letters, digits, . _ -)", field=name)
    if not isinstance(given, Mapping):
        raise InvalidInput(f"{name} must be a table, as [{name}]", field=name)
    checks = {
        "description": lambda value: isinstance(value, str) and len(value) <= 1000,
        "image": lambda value: isinstance(value, str) and _IMAGE.fullmatch(value),
        "executor": lambda value: isinstance(value, Mapping),
        "shell": lambda value: value in SHELLS,
        "columns": _is_size,
        "rows": _is_size,
    }
    for key, value in given.items():
        place = f"{name}.{key}"
        if key not in checks:
            raise InvalidInput(f"{place} is not a field; there are: {', '.join(checks)}", field=place)
        if not checks[key](value):
            raise InvalidInput(f"{place} cannot be {value!r}", field=place)
    executor = given.get("executor", {})
    for key in executor:
        if key not in _EXECUTOR:
            place = f"{name}.executor.{key}"
            raise InvalidInput(f"{place} is not a field; there are: {', '.join(_EXECUTOR)}", field=place)
    if executor:
        try:
            executor_kind(executor.get("name"))
        except InvalidInput as error:
            raise InvalidInput(f"{name}.executor: {error}", field=f"{name}.executor.name") from error
    return SessionProfile(name, **given)


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_CELLS
