"""The real agents of the matrix: how each is asked for, and what can be expected of it."""

import json
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


def opencode_config(url: str) -> Env:
    """Through ACP opencode is configured by its user: it heeds no OPENAI_BASE_URL, and there is no executor to say so."""
    options = {"baseURL": f"{url}/v1", "apiKey": "test-key-of-ours"}
    models = {"stub": {"name": "stub", "limit": {"context": 100_000, "output": 8_000}}}
    provider = {"npm": "@ai-sdk/openai-compatible", "name": "stub", "options": options, "models": models}
    config = {"model": "stub/stub", "small_model": "stub/stub", "provider": {"stub": provider}}
    config |= {"permission": "allow", "autoupdate": False, "share": "disabled"}
    return _plain(OPENCODE_CONFIG_CONTENT=json.dumps(config))


def gemini(url: str) -> Env:
    return {"GEMINI_API_KEY": "test-key-of-ours", **_plain(GOOGLE_GEMINI_BASE_URL=url)}


SCRIPTED = {"model": "scripted"}
BLOCK = """made.txt
```
<<<<<<< SEARCH
=======
by-agent
>>>>>>> REPLACE
```
"""


@dataclass(frozen=True)
class Agent:
    """One row of the matrix."""

    name: str
    image: str
    """What its image holds (`relay image build`), with spaces between."""
    env: Callable[[str], Env]
    executor: Mapping[str, Any] = field(default_factory=dict)
    write: str = f"[[say: I begin.]] [[run: {WRITE}]]"
    """Directives that make it write by-agent into made.txt."""
    closing: str = "[[say: %s]]"
    """How the model says its last words."""
    hear: str = ""
    """Makes the model tell how many prompts it has heard, where it would not do so by itself."""
    more_env: Mapping[str, str] = field(default_factory=dict)
    has_tools: bool = True
    resumes: bool = True
    streams: bool = True
    """Whether it prints a message while the model says it."""
    usage: bool = True
    model_error: tuple[str, str] = ("agent_error", "400")
    """Reason, and a word of the message, when the model refuses the request."""

    def unknown_session(self, session: str) -> str:
        """An id like one of its own that no conversation has."""
        return session[:-6] + "".join("1" if character == "0" else "0" for character in session[-6:])

    def says(self, words: str) -> str:
        """The directive for a turn's last words."""
        return self.closing % words

    @property
    def choice(self) -> dict[str, Any]:
        return {"name": self.name, **self.executor}


AGENTS: dict[str, Agent] = {
    "claude-code": Agent("claude-code", "claude-code", anthropic),
    "codex": Agent("codex", "codex", openai, SCRIPTED, streams=False),
    "gemini": Agent("gemini", "gemini", gemini, {"model": "gemini-2.5-pro"}),
    "opencode": Agent("opencode", "opencode", openai, SCRIPTED, streams=False),
    "qwen": Agent("qwen", "qwen", openai, SCRIPTED),
    "aider": Agent(
        "aider",
        "aider",
        openai,
        {"model": "openai/scripted", "args": ["--edit-format", "diff"]},
        write=f"[[say: {BLOCK}]]",
        hear="[[stall: 0]]",
        has_tools=False,
        streams=False,
    ),
    "mini": Agent(
        "mini",
        "mini",
        openai,
        {"model": "openai/scripted"},
        closing="[[run: echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT; echo '%s']]",
        more_env={"MSWEA_MODEL_RETRY_STOP_AFTER_ATTEMPT": "2"},
        resumes=False,
        streams=False,
    ),
    "claude-agent-acp": Agent("acp", "claude-agent-acp", anthropic, {"command": "claude-agent-acp"}),
    "opencode acp": Agent("acp", "opencode acp", opencode_config, {"command": "opencode acp"}),
}
