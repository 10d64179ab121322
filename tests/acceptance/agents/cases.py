"""The real agents of the matrix: how each is asked for, and what can be expected of it."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Env = dict[str, Any]
WRITE = "echo by-agent > made.txt && git add -A && git commit -qm 'Add made.txt'"


def _plain(**values: str) -> Env:
    return {name: {"value": value, "secret": False} for name, value in values.items()}


def anthropic(url: str) -> Env:
    return {
        "ANTHROPIC_API_KEY": "test-key-of-ours",
        **_plain(ANTHROPIC_BASE_URL=url, CLAUDE_CODE_MAX_RETRIES="1"),
    }


def openai(url: str) -> Env:
    return {"OPENAI_API_KEY": "test-key-of-ours", **_plain(OPENAI_BASE_URL=f"{url}/v1")}


def opencode(url: str) -> Env:
    """Its own settings, as a deployment that drives it through the protocol would give them."""
    options = {"baseURL": "{env:OPENAI_BASE_URL}", "apiKey": "{env:OPENAI_API_KEY}"}
    provider = {"npm": "@ai-sdk/openai-compatible", "name": "ours", "options": options, "models": {"m": {"name": "m"}}}
    config = {"model": "ours/m", "small_model": "ours/m", "permission": "allow", "provider": {"ours": provider}}
    return {**openai(url), **_plain(OPENCODE_CONFIG_CONTENT=json.dumps(config))}


def aider(url: str) -> Env:
    return {**openai(url), **_plain(AIDER_EDIT_FORMAT="diff")}


def mini(url: str) -> Env:
    return {**openai(url), **_plain(MSWEA_MODEL_RETRY_STOP_AFTER_ATTEMPT="1")}


def gemini(url: str) -> Env:
    return {"GEMINI_API_KEY": "test-key-of-ours", **_plain(GOOGLE_GEMINI_BASE_URL=url)}


SCRIPTED = {"model": "scripted"}


@dataclass(frozen=True)
class Agent:
    """One row of the matrix."""

    name: str
    image: str
    """What its image holds (`relay image build`), with spaces between."""
    env: Callable[[str], Env]
    executor: Mapping[str, Any] = field(default_factory=dict)
    edit: str = f"Please [[run: {WRITE}]] [[say: I added it.]]"
    has_tools: bool = True
    resumes: bool = True
    usage: bool = True
    model_error: tuple[str, str] = ("agent_error", "400")
    """Reason, and a word of the message, when the model refuses the request."""

    def unknown_session(self, session: str) -> str:
        """An id like one of its own that no conversation has."""
        return "".join("0" if character in "123456789abcdef" else character for character in session)

    @property
    def choice(self) -> dict[str, Any]:
        return {"name": self.name, **self.executor}


AIDER_EDIT = "[[say: I added it.\n\nmade.txt\n```\n<<<<<<< SEARCH\n=======\nby-agent\n>>>>>>> REPLACE\n```]]"
SUBMIT = "[[run: echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT; echo I added it.]]"
MINI_EDIT = f"Please [[say: I will.]] [[run: {WRITE}]] {SUBMIT}"

AGENTS: dict[str, Agent] = {
    "claude-code": Agent("claude-code", "claude-code", anthropic),
    "codex": Agent("codex", "codex", openai, SCRIPTED),
    "opencode": Agent("opencode", "opencode", openai, SCRIPTED),
    "qwen": Agent("qwen", "qwen", openai, SCRIPTED),
    "gemini": Agent("gemini", "gemini", gemini, {"model": "gemini-2.5-pro"}),
    "aider": Agent("aider", "aider", aider, {"model": "openai/scripted"}, AIDER_EDIT, has_tools=False),
    "mini": Agent("mini", "mini", mini, {"model": "openai/scripted"}, MINI_EDIT, resumes=False),
    "claude-agent-acp": Agent("acp", "claude-agent-acp", anthropic, {"command": "claude-agent-acp"}),
    "opencode acp": Agent("acp", "opencode acp", openai, {"command": "opencode acp", **SCRIPTED}),
}
IN_CI = ("claude-code", "codex", "claude-agent-acp")


def wanted() -> list[str]:
    """Those of this run: RELAY_TEST_AGENTS, a list or `all`."""
    given = os.environ.get("RELAY_TEST_AGENTS", "")
    if given == "all":
        return list(AGENTS)
    return [name for name in (given.split(",") if given else IN_CI) if name in AGENTS]
