"""The scripted model: directives in a prompt become replies, in no protocol.

Directives stand anywhere in a prompt and are obeyed in their order; one tool call is one turn of the model:

=========================  =============================================================================
``[[run: shell command]]``  calls the agent's shell tool (the command must not contain ``]]``)
``[[tool: Name {json}]]``   calls any tool with these arguments
``[[say: text]]``           says it, with the next tool call or as the final answer
``[[flood: N]]``            says N bytes of lines that all differ
``[[error: 400]]``          answers the HTTP status instead; ``[[error: 500 x2]]`` that often, then goes on
``[[drop]]``                breaks the connection off in mid-answer; ``[[drop: x3]]`` that often, then goes on
``[[wait]]``                says what stands before it, then waits for `ModelServer.go`, then says what follows
``[[stall: 60]]``           begins an answer, then is silent for that many seconds
``[[cut]]``                 says what stands before it and breaks off in mid-answer; ``[[cut: x3]]`` that often
``[[half]]``                likewise, but the answer ends in order: it only lacks its last events
``[[stop: max_tokens]]``    ends the answer for that reason, as Anthropic names it (``max_tokens``, ``refusal``)
``[[usage: cached=9]]``     what each answer to this prompt took: input, cached, output, reasoning (11, 0, 7, 0)
=========================  =============================================================================

Tool arguments spell directives with braces (``{{run: …}}``): for the prompt of a subagent.
A prompt that says nothing is answered ``DONE history=N result=…``: the prompts the conversation holds, and the first
line of the last tool result. Nothing is remembered between requests but how often the faults of a prompt were given, so a
conversation that is resumed, or replayed from a file, gets the same answers.
"""

import json
import re
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

WORDS = "run|tool|say|flood|error|drop|wait|stall|cut|half|stop|usage"
DIRECTIVE = re.compile(rf"\[\[({WORDS})(?::\s*(.*?))?\s*\]\]", re.DOTALL)

TIMES = re.compile(r"\s*x(\d+)$")

SHELLS = ("Bash", "bash", "exec_command", "shell_command", "shell", "run_shell_command")
"""Names that agents give to their shell tool; the first that is on offer is called."""

FILLERS = {"string": "a step", "boolean": False, "integer": 0, "number": 0, "array": [], "object": {}}
"""A value for an argument that a tool requires and no test looks at."""


@dataclass(frozen=True)
class Conversation:
    """The content of a request, in any protocol."""

    prompts: tuple[str, ...]
    """Everything a user (not a tool) said, in order."""
    results: tuple[str, ...]
    """Tool results since the last prompt."""
    tools: Mapping[str, Mapping[str, Any]]
    """Tools on offer, each with the JSON schema of its arguments."""
    model: str = "scripted"
    side: bool = False
    """An agent's request for a title, a summary, …: nothing that the user asked for."""
    schema: Mapping[str, Any] | None = None
    """Of the JSON that a side request wants for an answer."""


@dataclass(frozen=True)
class ToolCall:
    """A call of one of the agent's tools."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Usage:
    """Tokens of one answer, none of them counted twice."""

    input: int = 11
    cached: int = 0
    output: int = 7
    reasoning: int = 0


@dataclass(frozen=True)
class Reply:
    """One turn of the model: what it says, then perhaps a tool call; and what goes wrong on the way."""

    text: str = ""
    call: ToolCall | None = None
    call_id: str = ""
    error: int | None = None
    drop: bool = False
    cut: bool = False
    """Ends after the text, without what makes it whole; with `drop`, the connection breaks off there."""
    stall_seconds: float = 0
    waits: bool = False
    """Waits for `ModelServer.go` after the first paragraph."""
    stop: str | None = None
    """Why it ended, as Anthropic names it; None: by itself."""
    usage: Usage = Usage()


@dataclass
class Script:
    """Turns a conversation into replies; remembers only how often a fault was given."""

    faults: Counter[tuple[str, int]] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reply(self, conversation: Conversation) -> Reply:
        """The next turn of this conversation."""
        prompt = conversation.prompts[-1] if conversation.prompts else ""
        found = DIRECTIVE.findall(prompt)
        usage = _usage(" ".join(argument for word, argument in found if word == "usage"))
        turns = _turns([each for each in found if each[0] != "usage"])
        waits = ("wait", "") in turns[len(conversation.results)] if len(conversation.results) < len(turns) else False
        return replace(self._reply(conversation, prompt, turns), usage=usage, waits=waits)

    def _reply(self, conversation: Conversation, prompt: str, turns: list[list[tuple[str, str]]]) -> Reply:
        done = len(conversation.results)
        if conversation.side:
            return Reply("A side request" if conversation.schema is None else json.dumps(_filled(conversation.schema)))
        steps = turns[done] if done < len(turns) else []
        said: list[str] = []
        stall = 0.0
        for index, (word, argument) in enumerate(steps):
            if word in {"error", "drop"}:
                if self._due(prompt, done * 1000 + index, argument):
                    return Reply(error=int(TIMES.sub("", argument))) if word == "error" else Reply(drop=True)
            elif word in {"cut", "half"}:
                if self._due(prompt, done * 1000 + index, argument):
                    return Reply("\n".join(said), cut=True, drop=word == "cut")
                said.clear()
            elif word == "stall":
                stall += float(argument)
            elif word == "stop":
                return Reply("\n".join(said), stop=argument, stall_seconds=stall)
            elif word in {"say", "flood", "wait"}:  # what waits begins a paragraph
                said.append(_flood(int(argument)) if word == "flood" else argument)
            else:
                call = _call(word, argument, conversation.tools)
                return Reply("\n".join(said), call, _call_id(conversation), stall_seconds=stall)
        return Reply("\n".join(said) or _summary(conversation), stall_seconds=stall)

    def _due(self, prompt: str, step: int, argument: str) -> bool:
        times = TIMES.search(argument) or re.fullmatch(r"x(\d+)", argument)
        if times is None:
            return True
        with self.lock:
            self.faults[prompt, step] += 1
            return self.faults[prompt, step] <= int(times[1])


def _turns(steps: list[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """Cut after each tool call: one list for each turn of the model."""
    turns: list[list[tuple[str, str]]] = [[]]
    for step in steps:
        turns[-1].append(step)
        if step[0] in {"run", "tool"}:
            turns.append([])
    return turns


def _call(word: str, argument: str, tools: Mapping[str, Mapping[str, Any]]) -> ToolCall:
    if word == "run":
        return _shell_call(argument, tools)
    name, _, arguments = argument.partition(" ")
    return ToolCall(name, json.loads(arguments.replace("{{", "[[").replace("}}", "]]") or "{}"))


def _usage(given: str) -> Usage:
    """Of ``cached=9 reasoning=3``."""
    return Usage(**{name: int(count) for name, _, count in (each.partition("=") for each in given.split())})


def _shell_call(command: str, tools: Mapping[str, Mapping[str, Any]]) -> ToolCall:
    """A call of the shell tool among those on offer, with whatever arguments it requires."""
    name = next((name for name in SHELLS if name in tools), SHELLS[0])
    schema = tools.get(name, {})
    known = schema.get("properties", {})
    key = "cmd" if "cmd" in known else "command"
    as_list = known.get(key, {}).get("type") == "array"
    return ToolCall(name, {**_filled(schema), key: ["sh", "-c", command] if as_list else command})


def _filled(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Values for the required fields of an object."""
    known = schema.get("properties", {})
    required = [name for name in schema.get("required", []) if name in known]
    return {name: FILLERS.get(str(known[name].get("type")).lower(), "x") for name in required}


def _call_id(conversation: Conversation) -> str:
    return f"call_{len(conversation.prompts)}_{len(conversation.results)}"


def _flood(size: int) -> str:
    lines = "".join(f"{number:011d}\n" for number in range(size // 12 + 1))
    return lines[:size]


def _summary(conversation: Conversation) -> str:
    last = (conversation.results or ("none",))[-1].strip().splitlines() or ["empty"]
    return f"DONE history={len(conversation.prompts)} result={last[0]}"
