"""Reads the output of Claude Code; the format is described in agents/shared/claude_format.py."""

from typing import ClassVar

from relay_workers.agents.shared.claude_format import ClaudeFormatReader


class ClaudeReader(ClaudeFormatReader):
    """Reads the output of one turn of Claude Code."""

    program: ClassVar = "claude"
    key_advice: ClassVar = "give the run a valid ANTHROPIC_API_KEY (or CLAUDE_CODE_OAUTH_TOKEN) in `env` or `secrets`"
