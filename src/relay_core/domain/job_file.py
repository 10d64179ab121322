"""The job file of a repository, `relay.toml`: how its runs are set up where a request does not say so.

The file is hostile input: everyone who can push to the repository can write it. So it has a size limit, unknown keys
are faults, it names no secrets, no environment, no commands of agents, no user and no root, and its image and limits
are checked as those of a request are.
"""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import isfinite
from typing import Any

from relay_core.domain.agents.executors import EXECUTORS, check_executor
from relay_core.domain.errors import InvalidInput, StepFailed
from relay_core.domain.images import check_allowed
from relay_core.domain.limits import FIXED_MAXIMA, Limits
from relay_core.domain.quantities import quantity
from relay_core.domain.toml_lines import KeyPath, key_lines, line_of
from relay_core.domain.vocabulary import Reason
from relay_core.domain.working_dir import normal_working_dir

PATHS = ("relay.toml", ".relay/relay.toml")
"""Where a repository may have its job file, relative to its root; it may have one of them."""
MAX_BYTES = 16 << 10
"""Largest job file in bytes."""
FAULTS_SHOWN = 5

SCRIPTS: Mapping[str, str] = {
    "setup": "setup_script",
    "cleanup": "cleanup_script",
    "dev_server": "dev_server_script",
    "archive": "archive_script",
}
"""Key of a script in the file → the field of a request that it stands for."""
EXECUTOR_FIELDS = ("name", "variant", "model", "reasoning_effort")
KEYS = ("image", *SCRIPTS, "working_dir", "limits", "executor")
_ADVICE = {
    "caches": "Relay has no caches yet: every workspace has its own, below /workspace/cache",
    "copy_files": "a clone holds the files of the commit only; for others: relay repo set --copy-files",
    "secrets": "a file cannot ask for secrets; name them in the request (relay run --secret)",
    "env": "give environment variables in the request (relay run --env), or set them in a script",
    "user": "the user is chosen by the request and the image",
    "setup_as_root": "a file cannot ask for root; the request can (relay run --setup-as-root)",
}
_ADVICE_EXECUTOR = "a file cannot set it; a request can, and so can a profile of the server or project"
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,511}")


@dataclass(frozen=True)
class Fault:
    """One fault of a job file."""

    line: int
    message: str
    """The fault, and what to do about it."""


@dataclass(frozen=True)
class ServerRules:
    """The values that a server allows a job file to ask for.

    Attributes:
        maxima: largest values by name of the limit; a limit without an entry has none.
        allowed_images: patterns of images; empty: any image.
    """

    maxima: Mapping[str, float] = field(default_factory=dict)
    allowed_images: Sequence[str] = ()


class JobFileInvalid(StepFailed):
    """A job file with faults.

    Attributes:
        faults: all of them, in the order of their lines.
    """

    def __init__(self, path: str, faults: Sequence[Fault]) -> None:
        self.faults = sorted(faults, key=lambda fault: fault.line)
        shown = [f"{path}:{fault.line}: {fault.message}" for fault in self.faults[:FAULTS_SHOWN]]
        more = len(faults) - len(shown)
        rest = f" (and {more} more; `relay lint` shows all)" if more > 0 else ""
        super().__init__(Reason.JOB_FILE_INVALID, "; ".join(shown) + rest)


@dataclass(frozen=True)
class JobFile:
    """The values of a valid job file; None or empty where it says nothing."""

    path: str
    image: str | None = None
    scripts: Mapping[str, str] = field(default_factory=dict)
    """Scripts by the field of a request that they stand for (`setup_script`, …)."""
    working_dir: str | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    executor: Mapping[str, str] = field(default_factory=dict)
    """Values of `EXECUTOR_FIELDS`."""
    lines: Mapping[KeyPath, int] = field(default_factory=dict, repr=False, compare=False)

    def invalid(self, path: KeyPath, message: str) -> JobFileInvalid:
        """Return the error for a value that does not fit the run or the node."""
        return JobFileInvalid(self.path, [Fault(line_of(self.lines, path), message)])


def parse(content: bytes, path: str, rules: ServerRules | None = None) -> JobFile:
    """Return the values of a job file.

    Args:
        content: the file's content; more than `MAX_BYTES` are refused.
        path: path of the file in its repository, for messages.
        rules: what the server allows.

    Raises:
        JobFileInvalid: the file has faults; each names its line and what to do.
    """
    if len(content) > MAX_BYTES:
        raise JobFileInvalid(path, [Fault(1, f"the file is larger than {MAX_BYTES} bytes; move scripts into files")])
    text, given = _toml(content, path)
    reader = _Reader(text, rules or ServerRules())
    found = reader.read(given, path)
    if reader.faults:
        raise JobFileInvalid(path, reader.faults)
    return found


def _toml(content: bytes, path: str) -> tuple[str, dict[str, Any]]:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise JobFileInvalid(path, [Fault(line, "the file is not UTF-8; save it as UTF-8")]) from None
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message, line = _place(str(error), text)
        raise JobFileInvalid(path, [Fault(line, f"not TOML: {message}")]) from None
    except (ValueError, RecursionError):  # a number of thousands of digits; thousands of nested arrays
        raise JobFileInvalid(path, [Fault(1, "not TOML that Relay reads: a value is too long or too deep")]) from None


def _place(message: str, text: str) -> tuple[str, int]:
    found = re.search(r" \(at line (\d+), column (\d+)\)$", message)
    if found is None:
        return message.removesuffix(" (at end of document)"), max(1, text.count("\n") + (not text.endswith("\n")))
    return f"{message[: found.start()]} at column {found[2]}", int(found[1])


class _Reader:
    """Reads the values of a parsed file, and collects its faults."""

    def __init__(self, text: str, rules: ServerRules) -> None:
        self.faults: list[Fault] = []
        self._lines = key_lines(text)
        self._rules = rules

    def read(self, given: Mapping[str, Any], path: str) -> JobFile:
        for key in given:
            if key not in KEYS:
                self._fault((key,), _unknown(key, KEYS, _ADVICE))
        scripts = {name: self._script(given, key) for key, name in SCRIPTS.items() if key in given}
        return JobFile(
            path,
            image=self._value(given, "image", self._image),
            scripts={name: script for name, script in scripts.items() if script is not None},
            working_dir=self._value(given, "working_dir", lambda text: normal_working_dir(text, "working_dir")),
            limits=self._limits(self._table(given, "limits")),
            executor=self._executor(self._table(given, "executor")),
            lines=self._lines,
        )

    def _fault(self, path: KeyPath, message: str) -> None:
        self.faults.append(Fault(line_of(self._lines, path), message))

    def _table(self, given: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        table = given.get(key, {})
        if isinstance(table, Mapping):
            return table
        self._fault((key,), f"{key} must be a table, begun with [{key}]")
        return {}

    def _script(self, given: Mapping[str, Any], key: str) -> str | None:
        text = given[key]
        if not isinstance(text, str):
            self._fault((key,), f"{key} must be a text, as {key} = \"…\", or of several lines between '''")
        elif "\0" in text:
            self._fault((key,), f"{key} must not contain the character NUL")
        else:
            return text
        return None

    def _value(self, given: Mapping[str, Any], key: str, check: Callable[[str], str | None]) -> str | None:
        value = given.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not value or "\0" in value:
            self._fault((key,), f"{key} must be a text that is not empty")
            return None
        try:
            return check(value)
        except InvalidInput as error:
            self._fault((key,), str(error))
            return None

    def _image(self, image: str) -> str:
        if not _IMAGE.fullmatch(image):
            raise InvalidInput(f"{image[:80]!r} is no name of an image, as python:3.12 is")
        check_allowed(image, self._rules.allowed_images)
        return image

    def _limits(self, given: Mapping[str, Any]) -> dict[str, float]:
        values: dict[str, float] = {}
        for name, written in given.items():
            try:
                value = quantity(name, written) if isinstance(written, str) else written
                number = None if isinstance(value, float) and not isfinite(value) else value
                limits = Limits.from_request({name: number}, {**FIXED_MAXIMA, **self._rules.maxima})
            except (InvalidInput, ValueError, OverflowError) as error:
                self._fault(("limits", name), str(error))
            else:
                values[name] = getattr(limits, name)
        return values

    def _executor(self, given: Mapping[str, Any]) -> dict[str, str]:
        values: dict[str, str] = {}
        for key, value in given.items():
            if key not in EXECUTOR_FIELDS:
                advice = dict.fromkeys(("command", "args", "env", "permission_mode"), _ADVICE_EXECUTOR)
                self._fault(("executor", key), _unknown(f"executor.{key}", EXECUTOR_FIELDS, advice))
            elif not isinstance(value, str) or not value:
                self._fault(("executor", key), f"executor.{key} must be a text that is not empty")
            else:
                values[key] = value
        if values and "name" not in values:
            self._fault(("executor",), "executor.name is missing: the agent, as claude-code")
        elif values:
            self._check_executor(values)
        return values

    def _check_executor(self, values: Mapping[str, str]) -> None:
        kind = EXECUTORS.get(values["name"])
        if kind is not None and kind.command_required:
            self._fault(("executor", "name"), f"executor.name {kind.name!r} runs commands; a file may name agents only")
            return
        try:
            check_executor({key: value for key, value in values.items() if key != "variant"})
        except InvalidInput as error:
            key = str(error.field or "executor.name").removeprefix("executor.")
            self._fault(("executor", key), str(error))


def _unknown(name: str, known: Sequence[str], advice: Mapping[str, str]) -> str:
    key = name.rpartition(".")[2]
    if key in advice:
        return f"{name} is not a key of a job file: {advice[key]}"
    near = get_close_matches(key.removesuffix("_script"), known, 1)
    meant = f"; do you mean {near[0]}?" if near else ""
    return f"{name[:80]} is not a key of a job file{meant} (there are: {', '.join(known)})"
