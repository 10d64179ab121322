"""The executors (coding agents) that a request can name, and the fields that each of them accepts.

The API uses this module to check requests. The code that runs the agents' programs is in `relay_workers.agents`.
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from relay_core.domain.agents.packages import AgentPackage, Runtime
from relay_core.domain.errors import InvalidInput

MAX_COMMAND_BYTES = 64 << 10
"""Most bytes of ``command`` and of every other text of a choice.

A longer command belongs into a script of the repository.
"""
MAX_ARGS = 100
"""Most entries of ``args``."""

AUTO = "auto"
"""Permission mode: the agent never asks for permission; the container is its sandbox."""
PLAN = "plan"
"""Permission mode: the agent may read but not write files; its last message is the plan."""
REJECT = "reject"
"""Permission mode: the agent asks for permission as its own settings say, and Relay denies every request."""


@dataclass(frozen=True)
class ExecutorKind:
    """One executor, and the fields that a request or a profile may set for it."""

    name: str
    """The word by which requests name the executor."""
    summary: str
    """One line that describes the executor; the API shows it."""
    program: str | None = None
    """Program that the image must contain. None: it depends on ``command``."""
    package: AgentPackage | None = None
    """Where the program comes from; each executor with a program has one."""
    command_required: bool = False
    """Whether a request must give ``command``."""
    resumes: bool = True
    """Whether a follow-up can continue a conversation of this executor."""
    rewinds: bool = False
    """Whether a follow-up can continue a conversation at an earlier message than its last one."""
    sees_images: bool = True
    """Whether it can show its model the images of a task."""
    conversation: bool = True
    """Whether Relay reads a conversation from the output. If not, the end of the output becomes the turn's summary."""
    command_is_program: bool = False
    """Whether ``command`` names the agent's program (words as in a shell). If not, it is a whole shell script."""
    models: bool = True
    """Whether a request may choose the model."""
    permission_modes: tuple[str, ...] = (AUTO,)
    """Permission modes that a request may choose; the first is the default."""
    reasoning_efforts: tuple[str, ...] = ()
    """Reasoning efforts that a request may choose."""
    harmless_args: frozenset[str] = frozenset()
    """Options allowed in ``args`` and ``command`` in a mode other than `AUTO`: they cannot change the mode."""


SHELL = ExecutorKind(
    "shell",
    "any command; the prompt is on its standard input",
    command_required=True,
    resumes=False,
    conversation=False,
    models=False,
)
CLAUDE_CODE = ExecutorKind(
    "claude-code",
    "Anthropic's Claude Code",
    program="claude",
    package=AgentPackage("@anthropic-ai/claude-code", Runtime.NATIVE),
    rewinds=True,
    command_is_program=True,
    permission_modes=(AUTO, PLAN),
    reasoning_efforts=("low", "medium", "high", "xhigh", "max"),
    harmless_args=frozenset(
        (
            "--model",
            "--fallback-model",
            "--effort",
            "--append-system-prompt",
            "--max-turns",
            "--max-budget-usd",
            "--add-dir",
            "--disallowedTools",
            "--disallowed-tools",
            "--restricted",
            "--strict-mcp-config",
            "--betas",
        )
    ),
)
ACP = ExecutorKind(
    "acp",
    "any agent that speaks the Agent Client Protocol: its command line",
    command_required=True,
    command_is_program=True,
    permission_modes=(AUTO, PLAN, REJECT),
    reasoning_efforts=("minimal", "low", "medium", "high", "xhigh", "max"),
)
CODEX = ExecutorKind(
    "codex",
    "OpenAI's Codex",
    program="codex",
    package=AgentPackage("@openai/codex", Runtime.NODE),
    command_is_program=True,
    reasoning_efforts=("none", "minimal", "low", "medium", "high", "xhigh"),
)
OPENCODE = ExecutorKind(
    "opencode",
    "opencode; a model without a provider in its name is served at OPENAI_BASE_URL",
    program="opencode",
    package=AgentPackage("opencode-ai", Runtime.NATIVE),
    command_is_program=True,
    permission_modes=(AUTO, PLAN),
    reasoning_efforts=("none", "minimal", "low", "medium", "high", "xhigh", "max"),
    harmless_args=frozenset(("--thinking", "--print-logs", "--log-level", "--title", "--variant", "--file", "-f")),
)
QWEN = ExecutorKind(
    "qwen",
    "Qwen Code",
    program="qwen",
    package=AgentPackage("@qwen-code/qwen-code", Runtime.NODE),
    command_is_program=True,
    permission_modes=(AUTO, PLAN),
    harmless_args=frozenset(
        ("--debug", "-d", "--max-session-turns", "--max-wall-time", "--max-tool-calls", "--exclude-tools")
    ),
)
GEMINI = ExecutorKind(
    "gemini",
    "Google's Gemini CLI",
    program="gemini",
    package=AgentPackage("@google/gemini-cli", Runtime.NODE),
    command_is_program=True,
    permission_modes=(AUTO, PLAN),
    harmless_args=frozenset(("--debug", "-d", "--include-directories", "--raw-output", "--accept-raw-output-risk")),
)
AIDER = ExecutorKind(
    "aider",
    "aider: edits files as the model's words say, without tools; Relay commits them",
    program="aider",
    package=AgentPackage("aider-chat", Runtime.PYTHON, newest_python=(3, 12)),
    command_is_program=True,
    sees_images=False,
    permission_modes=(AUTO, PLAN),
    harmless_args=frozenset(
        (
            "--weak-model",
            "--reasoning-effort",
            "--thinking-tokens",
            "--map-tokens",
            "--read",
            "--timeout",
            "--cache-prompts",
            "--stream",
            "--no-stream",
            "--max-chat-history-tokens",
            "--verbose",
            "--chat-language",
        )
    ),
)
MINI = ExecutorKind(
    "mini",
    "mini-swe-agent: a shell is its only tool",
    program="mini",
    package=AgentPackage("mini-swe-agent mcp", Runtime.PYTHON),
    command_is_program=True,
    resumes=False,
    sees_images=False,
)

EXECUTORS: Mapping[str, ExecutorKind] = {
    kind.name: kind for kind in (SHELL, CLAUDE_CODE, CODEX, OPENCODE, QWEN, GEMINI, AIDER, MINI, ACP)
}


@dataclass(frozen=True)
class ExecutorChoice:
    """An executor with its options. Each session stores one choice, which never changes.

    `check_executor` returns checked choices. A choice that was read from the database must be checked again before its
    use.
    """

    name: str
    command: str | None = None
    variant: str | None = None
    """Name of the profile that the fields were taken from."""
    model: str | None = None
    reasoning_effort: str | None = None
    permission_mode: str | None = None
    args: tuple[str, ...] = ()
    """Additional command-line arguments of the program."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of the agent's process, not secret; the run's variables take precedence."""
    unknown: Mapping[str, Any] = field(default_factory=dict)
    """Stored fields that this version of Relay does not know; `check_executor` refuses them."""

    @property
    def kind(self) -> ExecutorKind:
        """The executor's own description, with the fields that it accepts."""
        return EXECUTORS[self.name]

    def as_json(self) -> dict[str, Any]:
        """Return the fields as a session stores them and as `check_executor` accepts them."""
        known = {name: value for name, value in asdict(self).items() if name in FIELDS}
        return {**known, "args": list(self.args), "env": dict(self.env), **self.unknown}


FIELDS = tuple(field.name for field in fields(ExecutorChoice) if field.name != "unknown")


def executor_kind(name: object) -> ExecutorKind:
    """Return the executor of that name.

    Raises:
        InvalidInput: no executor has the name; the message lists all names.
    """
    kind = EXECUTORS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise InvalidInput(
            f"executor.name {name!r} is not known; there are: {', '.join(EXECUTORS)}", field="executor.name"
        )
    return kind


def check_executor(given: Mapping[str, Any]) -> ExecutorChoice:
    """Check the fields of a choice and return them as one; an empty text counts as not given.

    Raises:
        InvalidInput: the executor or a field is unknown, a field does not belong to this executor, or a value is not
            allowed; `field` of the error is the dotted name of the wrong field.
    """
    if unknown := sorted(set(given) - set(FIELDS)):
        known = ", ".join(FIELDS)
        raise InvalidInput(f"executor.{unknown[0]} is not a field; there are: {known}", field="executor")
    kind = executor_kind(given.get("name"))
    command = _text(given, "command")
    if command is None and kind.command_required:
        raise InvalidInput(
            f"executor.command is required for {kind.name}: the command line to run", field="executor.command"
        )
    words = program_words(command) if command is not None and kind.command_is_program else ()
    mode = _one_of(kind, "permission_mode", _text(given, "permission_mode"), kind.permission_modes)
    args = _args(given)
    if mode not in (None, AUTO):
        _hold_mode(kind, mode, "executor.command", words[1:])
        _hold_mode(kind, mode, "executor.args", args)
    return ExecutorChoice(
        kind.name,
        command,
        _text(given, "variant"),
        _model(kind, _text(given, "model")),
        _one_of(kind, "reasoning_effort", _text(given, "reasoning_effort"), kind.reasoning_efforts),
        mode,
        args,
        _env(given),
    )


def check_prompt(name: str, prompt: str) -> None:
    """Refuse a blank prompt before a container is started for it.

    Raises:
        InvalidInput: the prompt is blank, or there is no executor ``name``.
    """
    kind = executor_kind(name)
    if not prompt.strip():
        what = f"{name} needs one" if kind.conversation else "it gives the run its title"
        raise InvalidInput(f"prompt is blank: {what}", field="prompt")


def program_words(command: str) -> tuple[str, ...]:
    """Split a ``command`` that names an agent's program and its arguments into words, as a shell does.

    Returns:
        At least one word.

    Raises:
        InvalidInput: the quotes of the command do not match, or it has no word.
    """
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise InvalidInput(f"executor.command cannot be read as words: {error}", field="executor.command") from error
    if not words or not words[0]:
        raise InvalidInput("executor.command names no program", field="executor.command")
    return words


_MODE_OPTION = re.compile(
    r"--?(?:yolo|y|approval-?mode|permission-?mode|allowed-?tools|dangerously-.*|allow-dangerously-.*|policy|admin-policy|"
    r"settings|full-auto|sandbox|ask-for-approval|trust-.*)(?:=.*)?|(?:-c=?|--config=)?(?:sandbox_mode|approval_policy)=.*",
    re.IGNORECASE,
)
"""Matches arguments that change the permissions of known agents; `acp` agents accept them only in the mode auto."""


def _hold_mode(kind: ExecutorKind, mode: str | None, field_name: str, words: tuple[str, ...]) -> None:
    """Refuse words of a command line that could override the permission mode ``mode``.

    An agent that gets its mode as an argument may have no options but those in `harmless_args`. An ACP agent gets its
    mode through the protocol, so only options that are known to override the protocol are refused.

    Raises:
        InvalidInput: a word could override the mode; the message names it.
    """
    for word in words:
        option = word.partition("=")[0]
        if kind.command_required:
            broken = _MODE_OPTION.fullmatch(word) is not None
        else:
            broken = word.startswith("-") and option not in kind.harmless_args
        if broken:
            there = f"; {mode} takes: {', '.join(sorted(kind.harmless_args))}" if kind.harmless_args else ""
            message = f"{field_name}: {option!r} might take the permission mode {mode!r} of {kind.name} away{there}"
            raise InvalidInput(message, field=field_name)


_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/\[\]-]{0,199}")
"""Matches the name of a model of any agent. It never begins with a dash, so no agent takes it for an option."""
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")


def _model(kind: ExecutorKind, value: str | None) -> str | None:
    if value is None:
        return None
    if not kind.models:
        raise InvalidInput(f"{kind.name} has no model to choose", field="executor.model")
    if not _MODEL.fullmatch(value):
        raise InvalidInput(f"executor.model {value!r} is not a model's name", field="executor.model")
    return value


def _one_of(kind: ExecutorKind, name: str, value: str | None, known: tuple[str, ...]) -> str | None:
    if value is None or value in known:
        return value
    there = f"there are: {', '.join(known)}" if known else "it has none to choose"
    field_name = f"executor.{name}"
    raise InvalidInput(f"{field_name} {value!r} is not known for {kind.name}; {there}", field=field_name)


def _args(given: Mapping[str, Any]) -> tuple[str, ...]:
    value = given.get("args") or ()
    if not isinstance(value, list | tuple) or len(value) > MAX_ARGS:
        raise InvalidInput(f"executor.args must be a list of at most {MAX_ARGS} words", field="executor.args")
    return tuple(_checked(word, "executor.args") for word in value)


def _env(given: Mapping[str, Any]) -> dict[str, str]:
    value = given.get("env") or {}
    if not isinstance(value, Mapping):
        raise InvalidInput("executor.env must be a table of names and values", field="executor.env")
    for name in value:
        if not isinstance(name, str) or not _ENV_NAME.fullmatch(name):
            raise InvalidInput(f"executor.env: {name!r} is not a variable's name", field="executor.env")
    return {name: _checked(text, f"executor.env.{name}") for name, text in value.items()}


def _text(given: Mapping[str, Any], name: str) -> str | None:
    value = given.get(name)
    if value is None:
        return None
    text = _checked(value, f"executor.{name}")
    return text if text.strip() else None


def _checked(value: object, field_name: str) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"{field_name} must be a text", field=field_name)
    if "\0" in value:
        raise InvalidInput(f"{field_name} must not hold a NUL character", field=field_name)
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{field_name} is not valid Unicode", field=field_name) from error
    if size > MAX_COMMAND_BYTES:
        raise InvalidInput(
            f"{field_name} is longer than {MAX_COMMAND_BYTES} bytes: put it into a file", field=field_name
        )
    return value
