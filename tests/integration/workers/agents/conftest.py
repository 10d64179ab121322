"""Tests of real agents are collected where the agent is wanted (tests/support/agents_wanted.py)."""

from tests.support.agents_wanted import wanted

_EVERY = ("claude-code", "codex", "opencode", "qwen", "gemini", "aider", "mini")
collect_ignore = [f"test_executor_{name.replace('-', '_')}.py" for name in _EVERY if name not in wanted(_EVERY)]
